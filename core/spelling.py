"""Names that are misspelt."""

from collections.abc import Collection, Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one that ``name`` may be meant to be: the same but for case and one letter, or two neighbours."""
    return next((each for each in sorted(names) if _is_close(name.lower(), each.lower())), None)


def likeliest(name: str, names: Collection[str]) -> str | None:
    """Return the one that ``name`` may be a worse misspelling of, or an abbreviation."""
    import difflib  # here: it is for what is wrong, and no start should wait for it

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
