"""The text that signature secrets are configured as: one secret, verbatim, or a JSON array of several."""

import json
import re
from typing import Any, NamedTuple

from core.environment import parse_list

# Placeholders that a platform, a shell or a person left instead of the secret: anybody can guess them. See
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html for the first.
_REFERENCE = re.compile(
    r"\{\{.*\}\}|\$?\$\{.*\}|\$\(.*\)|\$[A-Z_]{3,}|<.*>|(arn:aws|crn:v1|op:/).*|projects/[^/]+/secrets/.*",
    re.IGNORECASE | re.DOTALL,
).fullmatch
_NOT_AN_ARRAY = (
    'begins with "[" but is not a JSON array of non-empty strings. Set it to the signature secret of the Data '
    'Connector, or to several as ["one","two"]'
)
_QUOTED = re.compile(r"""(["'`]).*\1""", re.DOTALL).fullmatch


class SecretText(NamedTuple):
    """What the text holds.

    Attributes:
        secrets: The secrets, in order; empty if there is none.
        faults: Why it cannot be used, each as the rest of a sentence that begins with its name; never a secret.
    """

    secrets: tuple[str, ...]
    faults: tuple[str, ...]


def read_secrets(text: str) -> SecretText:
    """Read the text. What cannot be entered in DT Studio, or does not come from there, is a fault."""
    whole = _json(text)
    if type(whole) is dict:
        return SecretText((), ("is a JSON object: store the secret alone, as plain text",))
    if type(whole) is list and any(type(item) is list for item in whole):
        return SecretText((), ('is an array in an array: write several secrets as ["one","two"]',))
    secrets = parse_list(text.removeprefix("\ufeff"))
    if secrets is None:
        return SecretText((), (_NOT_AN_ARRAY,))
    faults = ["begins with a byte order mark: save it as UTF-8 without one"] if text.startswith("\ufeff") else []
    faults += [fault for index, secret in enumerate(secrets) if (fault := _fault(index, secret))]
    return SecretText(tuple(secrets), tuple(faults))


def _fault(index: int, secret: str) -> str | None:
    number = f"(number {index})"
    try:
        secret.encode()
    except UnicodeEncodeError:  # a lone surrogate represents a byte that is not UTF-8
        return f"is not UTF-8 {number}: copy it again from DT Studio"
    if _REFERENCE(secret.strip()):
        return f"holds a reference to a secret {number}: set the secret itself"
    if "\n" in secret or "\r" in secret:
        return f"has a line end {number}: write the secret without it"
    if "\ufeff" in secret:
        return f"has a byte order mark {number}: write the secret without it"
    if len(secret) > 1 and _QUOTED(secret):
        return f"is in quotes {number}: write the secret without them"
    if type(_json(secret)) is list:
        return f'holds an array in an array {number}: write several secrets as ["one","two"]'
    return None


def _json(text: str) -> Any:
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
