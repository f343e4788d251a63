"""The environment, checked once at start: each fault is named, with what to set and where to find it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from core.event import EVENT_TYPES
from core.signature import ISSUER, Keys, Policy, Secrets, Verifier
from core.spelling import VARIABLES, likeliest, nearest

_STUDIO = "DT Studio > API Integrations > Data Connectors"
# RFC 7518, 3.2: a key for HS256 is at least as long as its hash.
_SHORT_SECRET = 32
_NAME = re.compile("[A-Za-z0-9_-]+").fullmatch
# http for a server of the tests' or one's own on this machine.
_SECURE_URL = re.compile(r"https://\S+|http://(127\.0\.0\.1|localhost|\[::1\])([:/]\S*)?").fullmatch


# What stands where a platform, a shell or a person should have put the secret: text that anybody can guess. See
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html for the first.
_REFERENCE = re.compile(
    r"\{\{.*\}\}|\$?\$\{.*\}|\$\(.*\)|\$[A-Z_]{3,}|<.*>|(arn:aws|crn:v1|op:/).*|projects/[^/]+/secrets/.*",
    re.IGNORECASE | re.DOTALL,
).fullmatch
# The same on Azure: https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
_KEY_VAULT = "@microsoft.keyvault("


class SettingsError(Exception):
    """The environment cannot be used. ``str()`` is a list of sentences for a person, with no value of a secret."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Settings:
    """What a receiver is configured to do.

    Attributes:
        verifier: Who is let in.
        event_types: The event types to keep; None keeps all. Others are acknowledged and dropped.
        projects: The project ids to keep events of; None keeps all. Others are acknowledged and dropped.
        warnings: Sentences for the log at start: allowed, but worth a look.
    """

    verifier: Verifier = field(repr=False)
    event_types: frozenset[str] | None = None
    projects: frozenset[str] | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, environ: Mapping[str, str], secrets: Secrets | None = None) -> "Settings":
        """Read the variables that docs/settings.md lists.

        Args:
            environ: The variables.
            secrets: What stands in for DT_SIGNATURE_SECRET.

        Raises:
            SettingsError: With every fault at once.
        """
        return _Reader(environ, secrets).settings()


class _Reader:
    def __init__(self, environ: Mapping[str, str], managed: Secrets | None) -> None:
        self._environ = environ
        self._managed = managed
        self._faults: list[str] = []
        self._warnings: list[str] = []

    def settings(self) -> Settings:
        self._check_names()
        secrets = self._many("DT_SIGNATURE_SECRET", "the signature secret of the Data Connector")
        organizations = self._many("DT_ORGANIZATION_ID", "your organization's id")
        policy = self._policy()
        if secrets and self._managed:
            self._faults.append(
                "DT_SIGNATURE_SECRET is set, and where to fetch it from, too. Remove the one or the other."
            )
        self._check_policy(policy, bool(secrets or self._managed), bool(organizations))
        for index, secret in enumerate(secrets):
            if not _is_utf8(secret):
                self._faults.append(f"DT_SIGNATURE_SECRET is not UTF-8. Copy it anew from {_STUDIO}.")
            elif is_reference(secret):
                self._faults.append(
                    f"DT_SIGNATURE_SECRET holds a reference to a secret (number {index}): set the secret itself."
                )
            elif len(secret.encode()) < _SHORT_SECRET:
                self._warnings.append(
                    f"Signature secret {index} is shorter than {_SHORT_SECRET} bytes: make a longer one."
                )
            if secret != secret.strip():
                self._warnings.append(f"Signature secret {index} begins or ends with white space: is that part of it?")
        issuer = self._environ.get("DT_ISSUER") or ISSUER
        if not is_secure_url(issuer):
            self._faults.append(f"DT_ISSUER must be an https address, such as {ISSUER}; leave it out for DT's own.")
        if self._environ.get("DT_JWKS") and not organizations:
            self._warnings.append("DT_JWKS is not looked at without DT_ORGANIZATION_ID.")
        verifier = Verifier(
            secrets=tuple(secret.encode() for secret in secrets if _is_utf8(secret)),
            managed=self._managed,
            organizations=frozenset(organizations),
            policy=policy,
            keys=self._keys(issuer) if organizations else None,
            issuer=issuer,
            leeway=self._seconds("DT_LEEWAY", 60, 600),
            accept_expired_for=self._seconds("DT_ACCEPT_EXPIRED_FOR", 0, 86_400),
            accept_sha1=self._flag("DT_ACCEPT_SHA1", True),
        )
        event_types = self._names("DT_EVENT_TYPES", "the event types to keep")
        for name in event_types:
            self._check_event_type(name)
        projects = self._names("DT_PROJECT_ID", "the ids of the projects to keep events of")
        for name in projects:
            if name != name.lower():
                self._warnings.append(
                    f"DT_PROJECT_ID names {name!r}, but the ids of DT's projects have no capitals: is it the id? "
                    "Events of other projects are dropped."
                )
        if self._faults:
            raise SettingsError(self._faults)
        return Settings(
            verifier,
            frozenset(event_types) if event_types else None,
            frozenset(projects) if projects else None,
            tuple(self._warnings),
        )

    def _check_names(self) -> None:
        for name, value in self._environ.items():
            if not name.upper().startswith("DT_"):
                continue
            # Inside a longer text, too, such as a JSON array, where Azure resolves none.
            if _KEY_VAULT in value.lower():
                self._faults.append(
                    f"{name} is a reference that Key Vault did not resolve. May the function's identity read that "
                    "secret, and is the reference the whole setting?"
                )
            if name not in VARIABLES and (meant := nearest(name, VARIABLES)):
                self._warnings.append(f"{name} is not a setting. Do you mean {meant}?")

    def _check_event_type(self, name: str) -> None:
        if name in EVENT_TYPES:
            return
        # Misspelt, it would drop everything.
        if meant := likeliest(name, EVENT_TYPES):
            self._faults.append(f"DT_EVENT_TYPES names {name!r}, which is no event type. Do you mean {meant!r}?")
        else:
            self._warnings.append(
                f"DT_EVENT_TYPES names {name!r}, an event type that this version does not know. Is it one? Events of "
                "other types than those named are dropped."
            )

    def _policy(self) -> Policy:
        policy = self._environ.get("DT_SIGNATURE_POLICY") or "any"
        if policy not in get_args(Policy):
            self._faults.append(f"DT_SIGNATURE_POLICY must be one of {', '.join(get_args(Policy))}.")
        return cast(Policy, policy)

    def _check_policy(self, policy: Policy, secrets: bool, organizations: bool) -> None:
        secret = f"Set DT_SIGNATURE_SECRET to the signature secret of {_STUDIO}"
        organization = "set DT_ORGANIZATION_ID to your organization's id to verify DT's asymmetric signature"
        if policy == "unsigned":
            if secrets or organizations:
                self._faults.append(
                    "DT_SIGNATURE_POLICY=unsigned takes events from anybody, yet a secret or an organization is set. "
                    "Remove the one or the other."
                )
            self._warnings.append("DT_SIGNATURE_POLICY=unsigned: anybody who knows the address can store events here.")
        elif policy == "any" and not secrets and not organizations:
            self._faults.append(f"Nothing to verify events with. {secret}, or {organization}.")
        if policy in ("hs256", "both") and not secrets:
            self._faults.append(f"DT_SIGNATURE_POLICY={policy} needs a secret. {secret}.")
        if policy in ("es256", "both") and not organizations:
            self._faults.append(f"DT_SIGNATURE_POLICY={policy} needs an organization: {organization}.")

    def _keys(self, issuer: str) -> Keys | None:
        # Imported here: it takes PyJWT and cryptography, which HS256 alone does without.
        try:
            from core.jwks import PinnedKeys, PublishedKeys
        except ImportError as error:
            self._faults.append(f"DT_ORGANIZATION_ID needs the package {error.name}: pip install PyJWT cryptography.")
            return None
        if pinned := self._environ.get("DT_JWKS"):
            try:
                return PinnedKeys(json.loads(pinned))
            except (ValueError, RecursionError):
                self._faults.append(
                    "DT_JWKS holds no ES256 key. Paste the document that the jwks_uri in "
                    f"{ISSUER}/.well-known/openid-configuration leads to."
                )
                return None
        return PublishedKeys(issuer)

    def _many(self, name: str, what: str) -> list[str]:
        """Read one value, taken verbatim, or a JSON array of several. Nothing and empty are the same: not set."""
        values = several(self._environ.get(name, ""))
        if values is not None:
            return values
        self._faults.append(
            f'{name} begins with "[" but is no JSON array of non-empty strings. '
            f'Set it to {what}, or to several as ["one","two"].'
        )
        return []

    def _names(self, name: str, what: str) -> list[str]:
        """Read names. One with a comma or a space in it would match no event, and all would be dropped for it."""
        values = self._many(name, what)
        if all(_NAME(value) for value in values):
            return values
        self._faults.append(f'{name} must be {what}: one, or several as ["one","two"].')
        return []

    def _seconds(self, name: str, default: int, most: int) -> int:
        text = self._environ.get(name) or str(default)
        if re.fullmatch("[0-9]{1,6}", text) and int(text) <= most:
            return int(text)
        self._faults.append(f"{name} must be a whole number of seconds from 0 to {most}.")
        return default

    def _flag(self, name: str, default: bool) -> bool:
        text = (self._environ.get(name) or str(default)).lower()
        if text not in ("true", "false"):
            self._faults.append(f"{name} must be true or false.")
        return text == "true"


def required(environ: Mapping[str, str], name: str, what: str) -> str:
    """Return a variable that a store cannot do without.

    Args:
        environ: The variables.
        name: Its name.
        what: What it holds, and what sets it; for the error.

    Raises:
        SettingsError: It is missing or empty.
    """
    if value := environ.get(name):
        return value
    raise SettingsError([f"{name} is not set: {what}."])


def one_of(environ: Mapping[str, str], name: str, default: str, *others: str) -> str:
    """Return a variable that has a few values.

    Args:
        environ: The variables.
        name: Its name.
        default: What it is when it is missing or empty.
        others: What else it may be.

    Raises:
        SettingsError: It is something else.
    """
    value = environ.get(name) or default
    if value in (default, *others):
        return value
    raise SettingsError([f"{name} must be {', '.join((default, *others[:-1]))} or {others[-1]}."])


def is_secure_url(url: str) -> bool:
    """Tell whether nobody can listen to what is sent to ``url``, as far as the URL tells."""
    return bool(_SECURE_URL(url))


def keep_days(environ: Mapping[str, str]) -> int:
    """Return DT_KEEP_DAYS, the days after which a store may delete an event or forget its key; 0 is never.

    Raises:
        SettingsError: It is no such number.
    """
    text = environ.get("DT_KEEP_DAYS") or "365"
    if re.fullmatch("[0-9]{1,4}", text):
        return int(text)
    raise SettingsError(["DT_KEEP_DAYS must be a whole number of days up to 9999; 0 keeps events for ever."])


def several(text: str) -> list[str] | None:
    """Read one value, taken verbatim, or a JSON array of several; None if it begins like one and is none."""
    if not text.startswith("["):
        return [text] if text.strip() else []
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if type(values) is list and values and all(type(v) is str and v.strip() for v in values) else None


def is_reference(secret: str) -> bool:
    """Tell whether a secret is only a reference to one."""
    return bool(_REFERENCE(secret.strip()))


def _is_utf8(secret: str) -> bool:
    """Tell a text from bytes that were none, for which the environment has lone surrogates."""
    try:
        return bool(secret.encode())
    except UnicodeEncodeError:
        return False
