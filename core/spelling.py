"""Names that are misspelt."""

from collections.abc import Collection, Iterable

# Those of all adapters, to tell a typing error from somebody else's variable; docs/settings.md has them too.
VARIABLES = frozenset(
    {
        "DT_ACCEPT_EXPIRED_FOR",
        "DT_ACCEPT_SHA1",
        "DT_AUTH_LEVEL",
        "DT_CLOUDANT",
        "DT_CLOUDANT_API_KEY",
        "DT_DATABASE",
        "DT_DATABASE_PERIOD",
        "DT_DATABASE_PREFIX",
        "DT_EVENT_TYPES",
        "DT_FIRESTORE",
        "DT_IAM_URL",
        "DT_ISSUER",
        "DT_JWKS",
        "DT_KEEP_DAYS",
        "DT_LEEWAY",
        "DT_ORDERING",
        "DT_ORGANIZATION_ID",
        "DT_PROJECT_ID",
        "DT_QUEUE",
        "DT_QUEUE_URL",
        "DT_SEEN_KEYS",
        "DT_SEEN_TABLE",
        "DT_SERVICE_BUS",
        "DT_SIGNATURE_POLICY",
        "DT_SIGNATURE_SECRET",
        "DT_SIGNATURE_SECRET_ID",
        "DT_STORAGE",
        "DT_STORE",
        "DT_TABLE",
        "DT_TOPIC",
        "DT_TRUSTED_PROFILE",
    }
)


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
