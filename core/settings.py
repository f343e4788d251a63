"""The settings of every receiver: verification and filters."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast, get_args

from core.environment import Environment, is_secure_url
from core.event import EVENT_TYPES
from core.spelling import likeliest
from core.verify.keys import PublicKeys, Secrets
from core.verify.secret_text import read_secrets
from core.verify.signature import ISSUER, Policy, Verifier

_STUDIO = "DT Studio > API Integrations > Data Connectors"
# RFC 7518, 3.2: a key for HS256 must be at least as long as its hash.
_SHORT_SECRET = 32
# Values that people write for "no filter": they would drop every event.
_EVERYTHING = frozenset({"all", "any", "none", "null"})
_NAME = re.compile("[A-Za-z0-9_-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a receiver.

    Attributes:
        verifier: Verifies requests.
        event_types: The event types to store; None stores all. Others are acknowledged and dropped.
        projects: The ids of the projects whose events are stored; None stores all. Others are acknowledged and dropped.
        warnings: Sentences for the log at the start: valid settings that are probably wrong.
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
            secrets: The source that replaces DT_SIGNATURE_SECRET.

        Raises:
            core.environment.SettingsError: With all faults.
        """
        environment = Environment(environ)
        settings = cls.read(environment, secrets)
        environment.check()
        return settings.with_warnings(environment)

    @classmethod
    def read(cls, environment: Environment, secrets: Secrets | None = None) -> "Settings":
        """Do the same, but collect the faults in ``environment``, to report them with those of a store."""
        return _Reader(environment, secrets).settings()

    def with_warnings(self, environment: Environment) -> "Settings":
        """Return the settings with the warnings of ``environment``, after everything was read."""
        return replace(self, warnings=(*environment.warnings, *environment.misspelt()))


class _Reader:
    def __init__(self, environment: Environment, managed: Secrets | None) -> None:
        self._environment = environment
        self._managed = managed
        self._faults = environment.faults
        self._warnings = environment.warnings

    def settings(self) -> Settings:
        self._environment.check_references()
        secrets = self._secrets()
        organizations = self._environment.list("DT_ORGANIZATION_ID", "your organization's id")
        policy = self._policy()
        if secrets and self._managed:
            self._faults.append(
                "Both DT_SIGNATURE_SECRET and the place to fetch it from are set. Remove one of the two."
            )
        self._check_policy(policy, bool(secrets or self._managed), bool(organizations))
        issuer = self._environment.get("DT_ISSUER") or ISSUER
        if not is_secure_url(issuer):
            self._faults.append(f"DT_ISSUER must be an https address, such as {ISSUER}; leave it out for DT's own.")
        if self._environment.get("DT_JWKS") and not organizations:
            self._warnings.append("DT_JWKS has no effect without DT_ORGANIZATION_ID.")
        verifier = Verifier(
            # With a fault, nothing is verified; and what is not UTF-8 cannot be encoded.
            secrets=tuple(secret.encode() for secret in secrets if not self._faults),
            managed=self._managed,
            organizations=frozenset(organizations),
            policy=policy,
            keys=self._keys(issuer) if organizations else None,
            issuer=issuer,
            leeway=self._environment.seconds("DT_LEEWAY", 60, 600),
            accept_expired_for=self._environment.seconds("DT_ACCEPT_EXPIRED_FOR", 0, 86_400),
            accept_sha1=self._environment.flag("DT_ACCEPT_SHA1", True),
        )
        event_types = self._names("DT_EVENT_TYPES", "the event types to keep")
        for name in event_types:
            self._check_event_type(name)
        projects = self._names("DT_PROJECT_ID", "the ids of the projects to keep events of")
        for name in projects:
            if name != name.lower():
                self._warnings.append(
                    f"DT_PROJECT_ID names {name!r}, but DT's project ids have no capital letters. Is it right? "
                    "Events of other projects are dropped."
                )
        return Settings(
            verifier,
            frozenset(event_types) if event_types else None,
            frozenset(projects) if projects else None,
        )

    def _secrets(self) -> tuple[str, ...]:
        secrets, faults = read_secrets(self._environment.get("DT_SIGNATURE_SECRET"))
        self._faults += [f"DT_SIGNATURE_SECRET {fault}." for fault in faults]
        for index, secret in enumerate(secrets if not faults else ()):
            if len(secret.encode()) < _SHORT_SECRET:
                self._warnings.append(
                    f"Signature secret {index} is shorter than {_SHORT_SECRET} bytes: make a longer one."
                )
            if secret != secret.strip():
                self._warnings.append(
                    f"Signature secret {index} begins or ends with white space. Is the white space part of the secret?"
                )
        return secrets

    def _check_event_type(self, name: str) -> None:
        if name in EVENT_TYPES:
            return
        # A misspelt type would drop every event.
        if meant := likeliest(name, EVENT_TYPES):
            self._faults.append(f"DT_EVENT_TYPES names {name!r}, which is not an event type. Do you mean {meant!r}?")
        else:
            self._warnings.append(
                f"DT_EVENT_TYPES names {name!r}, an event type that this version does not know. Is it right? Events "
                "of types that are not named are dropped."
            )

    def _policy(self) -> Policy:
        policy = self._environment.get("DT_SIGNATURE_POLICY") or "any"
        if policy not in get_args(Policy):
            self._faults.append(f"DT_SIGNATURE_POLICY must be one of {', '.join(get_args(Policy))}.")
        return cast(Policy, policy)

    def _check_policy(self, policy: Policy, secrets: bool, organizations: bool) -> None:
        secret = f"Set DT_SIGNATURE_SECRET to the signature secret of {_STUDIO}"
        organization = "set DT_ORGANIZATION_ID to your organization's id to verify DT's asymmetric signature"
        if policy == "unsigned":
            if secrets or organizations:
                self._faults.append(
                    "DT_SIGNATURE_POLICY=unsigned accepts events from anybody, but a secret or an organization is set. "
                    "Remove one of the two."
                )
            self._warnings.append("DT_SIGNATURE_POLICY=unsigned: anybody who knows the address can store events here.")
        elif policy == "any" and not secrets and not organizations:
            self._faults.append(f"Nothing to verify events with. {secret}, or {organization}.")
        if policy in ("hs256", "both") and not secrets:
            self._faults.append(f"DT_SIGNATURE_POLICY={policy} needs a secret. {secret}.")
        if policy in ("es256", "both") and not organizations:
            self._faults.append(f"DT_SIGNATURE_POLICY={policy} needs an organization: {organization}.")

    def _keys(self, issuer: str) -> PublicKeys | None:
        # Imported here: it needs PyJWT and cryptography, and HS256 alone does not.
        try:
            from core.verify.jwks import PinnedKeys, PublishedKeys
        except ImportError as error:
            self._faults.append(f"DT_ORGANIZATION_ID needs the package {error.name}: pip install PyJWT cryptography.")
            return None
        if pinned := self._environment.get("DT_JWKS"):
            try:
                return PinnedKeys(json.loads(pinned))
            except (ValueError, RecursionError):
                self._faults.append(
                    "DT_JWKS has no ES256 key. Paste the document that the jwks_uri in "
                    f"{ISSUER}/.well-known/openid-configuration leads to."
                )
                return None
        return PublishedKeys(issuer)

    def _names(self, name: str, what: str) -> list[str]:
        """Read a list of names. A name with a space would match no event, so all would be dropped."""
        values = self._environment.list(name, what)
        if found := [value for value in values if value.lower() in _EVERYTHING]:
            self._faults.append(f"{name} must not be {found[0]!r}: leave it out to keep all.")
        if all(_NAME(value) for value in values):
            return values
        self._faults.append(f"{name} must be {what}: one, or several as one,two.")
        return []
