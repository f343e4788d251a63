"""Environment variables, read once at the start. All faults are reported, with what to set and where to find it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from core.spelling import nearest

# http only for loopback, and not for http://localhost:80@example.com.
_SECURE_URL = re.compile(r"https://\S+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?(/\S*)?").fullmatch
# https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
_KEY_VAULT = "@microsoft.keyvault("


class SettingsError(Exception):
    """The environment is invalid. ``str()`` is a list of sentences for a person, without any secret.

    Attributes:
        faults: The sentences.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Environment:
    """The variables, and all faults found so far. Reading never raises; `check` raises, with all faults.

    An empty variable counts as missing.

    Args:
        variables: By name.

    Attributes:
        faults: Sentences: what to set, and where to find it.
        warnings: Sentences for the log at the start: valid settings that are probably wrong.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._read: set[str] = set()
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def check(self) -> None:
        """Raise `SettingsError` if there is any fault."""
        if self.faults:
            raise SettingsError(self.faults)

    def check_references(self) -> None:
        """Make an unresolved reference to a key vault a fault in any DT_ variable, read or not."""
        for name, value in self._variables.items():
            # Also inside a longer text, such as a JSON array: Azure does not resolve references there.
            if name.upper().startswith("DT_") and _KEY_VAULT in value.lower():
                self.faults.append(
                    f"{name} is a reference that Key Vault did not resolve. May the function's identity read that "
                    "secret, and is the reference the whole setting?"
                )

    def misspelt(self) -> list[str]:
        """Return a sentence for each DT_ variable that was not read but whose name resembles one that was."""
        unread = [name for name in self._variables if name.upper().startswith("DT_") and name not in self._read]
        pairs = [(name, nearest(name, self._read)) for name in unread]
        return [f"{name} is not a setting. Do you mean {meant}?" for name, meant in pairs if meant]

    def get(self, name: str, default: str = "") -> str:
        """Return a variable, or ``default`` if it is missing."""
        self._read.add(name)
        return self._variables.get(name) or default

    def required(self, name: str, what: str) -> str:
        """Return a variable that a store needs.

        Args:
            name: Its name.
            what: Its content and who sets it; for the fault.
        """
        value = self.get(name)
        if not value:
            self.faults.append(f"{name} is not set: {what}.")
        return value

    def one_of(self, name: str, default: str, *others: str) -> str:
        """Return a variable that is ``default`` or one of ``others``."""
        value = self.get(name, default)
        if value in (default, *others):
            return value
        self.faults.append(f"{name} must be {', '.join((default, *others[:-1]))} or {others[-1]}.")
        return default

    def list(self, name: str, what: str) -> list[str]:
        """Return the names in a variable, as `parse_names` reads them."""
        values = parse_names(self.get(name))
        if values is not None:
            return values
        self.faults.append(f"{name} has an empty name, or is not a list. Set it to {what}, or to several as one,two.")
        return []

    def seconds(self, name: str, default: int, most: int) -> int:
        """Return a number of seconds from 0 to ``most``."""
        text = self.get(name, str(default))
        if re.fullmatch("[0-9]{1,6}", text) and int(text) <= most:
            return int(text)
        self.faults.append(f"{name} must be a whole number of seconds from 0 to {most}.")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """Return whether a variable is ``true``."""
        text = self.get(name, str(default)).lower()
        if text not in ("true", "false"):
            self.faults.append(f"{name} must be true or false.")
        return text == "true"

    def keep_days(self, name: str) -> int:
        """Return the days after which a store may delete an event or its key, 365 by default; 0 means never."""
        text = self.get(name, "365")
        if re.fullmatch("[0-9]{1,4}", text):
            return int(text)
        self.faults.append(f"{name} must be a whole number of days up to 9999; 0 keeps events for ever.")
        return 0


def is_secure_url(url: str) -> bool:
    """Return whether the URL is https or loopback."""
    return bool(_SECURE_URL(url))


def parse_names(text: str) -> list[str] | None:
    """Return names that are joined by commas, or the items of a JSON array of strings; None if one is empty."""
    if text.startswith("["):
        return parse_list(text)
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    return names if all(names) else None


def parse_list(text: str) -> list[str] | None:
    """Return a single value verbatim, or the items of a JSON array of strings; None if the array is invalid."""
    if not text.startswith("["):
        return [text] if text.strip() else []
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if type(values) is list and values and all(type(v) is str and v.strip() for v in values) else None
