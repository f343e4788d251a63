"""Finds misspelt names."""

from collections.abc import Collection, Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that differs from ``name`` only by case and one letter, or two swapped letters."""
    return next((each for each in sorted(names) if _is_close(name.lower(), each.lower())), None)


def likeliest(name: str, names: Collection[str]) -> str | None:
    """Return the name that ``name`` most likely misspells or abbreviates."""
    import difflib  # Imported here: only faults need it, and a normal start does not.

    short = (each for each in sorted(names) if len(name) > 2 and each.lower().startswith(name.lower()))
    return nearest(name, names) or next(short, None) or next(iter(difflib.get_close_matches(name, names, 1, 0.8)), None)


def _is_close(one: str, other: str) -> bool:
    at = next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    rest, others = one[at:], other[at:]
    return (
        rest[1:] == others[1:]
        or rest[1:] == others
        or rest == others[1:]
        or (rest[:2] == others[1::-1] and rest[2:] == others[2:])
    )
