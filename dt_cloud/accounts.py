"""The organization, its projects and their service accounts: the same at each start."""

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt

from dt_cloud.choices import Choices
from dt_cloud.database import Database
from dt_cloud.errors import ApiError
from dt_cloud.ids import fixed_xid

ORGANIZATION = fixed_xid("organization")
ORGANIZATION_NAME = "Your organization"
# Ids and display names.
PROJECTS: Mapping[str, str] = {fixed_xid("project 1"): "Office", fixed_xid("project 2"): "Cold storage"}
FIRST_PROJECT = next(iter(PROJECTS))
TOKEN_LIFE = 3600
# Seconds by which a client's clock may be ahead; DT's own Terraform provider back-dates its tokens by 5.
_LEEWAY = 5

_READ = (
    "project",
    "membership",
    "sensor",
    "device",
    "dataconnector",
    "serviceaccount",
    "serviceaccount.key",
    "emulator",
)
_USER = tuple(f"{each}.read" for each in _READ)
_DEVELOPER = (
    *_USER,
    "sensor.update", "device.update",
    "dataconnector.create", "dataconnector.update", "dataconnector.delete",
    "emulator.create", "emulator.update", "emulator.delete",
)  # fmt: skip
_ADMIN = (
    *_DEVELOPER,
    "device.transfer",
    "project.update",
    "membership.create",
    "membership.update",
    "membership.delete",
)
ROLES: Mapping[str, tuple[str, ...]] = {
    "project.user": _USER,
    "project.developer": _DEVELOPER,
    "project.admin": _ADMIN,
    "organization.admin": (*_ADMIN, "organization.read", "project.create", "project.delete"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A service account with its key.

    Attributes:
        role: One of `ROLES`. Project roles apply to the first project only, the organization's role to all.
        key_id: The key's id.
        email: The account's address.
        secret: The key's secret.
    """

    role: str
    key_id: str
    email: str
    secret: str = field(repr=False)

    @property
    def projects(self) -> tuple[str, ...]:
        """The ids of the projects that the account may see."""
        return tuple(PROJECTS) if self.role == "organization.admin" else (FIRST_PROJECT,)


class Accounts:
    """Service accounts and their permissions.

    Args:
        database: Stores the secrets, which are generated at the first start.
        choices: Decide which role may create a connector.
        token_endpoints: The addresses of the token endpoint; a client's token must name one.
    """

    def __init__(self, database: Database, choices: Choices, token_endpoints: tuple[str, ...]) -> None:
        self._choices = choices
        self._token_endpoints = token_endpoints
        with database.transaction():
            self._token_key = _kept_secret(database, "token key")
            self.all = tuple(
                Account(
                    role=role,
                    key_id=fixed_xid(f"key of {role}"),
                    email=f"{fixed_xid(role)}@{FIRST_PROJECT}.serviceaccount.d21s.com",
                    secret=_kept_secret(database, f"secret of {role}"),
                )
                for role in ROLES
            )
        self._by_key = {account.key_id: account for account in self.all}

    @property
    def creator(self) -> Account:
        """The account with the fewest permissions that may create a connector."""
        return next(each for each in self.all if "dataconnector.create" in self.permissions(each))

    def permissions(self, account: Account) -> tuple[str, ...]:
        """Return what an account may do in its projects."""
        permissions = ROLES[account.role]
        if self._choices.creators == "admin" and account.role == "project.developer":
            return tuple(each for each in permissions if each != "dataconnector.create")
        return permissions

    def issue(self, assertion: str, now: float) -> str:
        """Return an access token for a JWT that a client signed with its key (RFC 7523).

        Args:
            assertion: The client's token.
            now: The real time, in seconds since the epoch.

        Raises:
            ValueError: The token is not valid; the text says why.
        """
        try:
            account = self._by_key[jwt.get_unverified_header(assertion).get("kid", "")]
        except (jwt.PyJWTError, KeyError, TypeError):
            raise ValueError("untrusted entity: no such key id") from None
        try:
            claims = jwt.decode(
                assertion,
                account.secret,
                algorithms=["HS256"],
                audience=self._token_endpoints,
                issuer=account.email,
                leeway=_LEEWAY,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )
        except jwt.InvalidSignatureError:
            raise ValueError("signature error: it was signed with another secret") from None
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise ValueError("timing error: it is expired or not yet valid") from None
        except jwt.InvalidAudienceError:
            raise ValueError(f"aud must be {self._token_endpoints[0]}") from None
        except jwt.PyJWTError as error:
            raise ValueError(f"untrusted entity: {type(error).__name__}") from None
        if claims["exp"] - claims["iat"] > TOKEN_LIFE:
            raise ValueError("timing error: exp is more than an hour after iat")
        return jwt.encode({"sub": account.key_id, "exp": int(now) + TOKEN_LIFE}, self._token_key, "HS256")

    def authenticate(self, scheme: str, credentials: str) -> Account:
        """Return the account of an Authorization header.

        Args:
            scheme: ``bearer`` or ``basic``.
            credentials: The access token; or key id and secret, separated by a colon.

        Raises:
            ApiError: 401.
        """
        if scheme == "basic":
            key_id, _, secret = credentials.partition(":")
            account = self._by_key.get(key_id)
            if account and hmac.compare_digest(secret.encode(), account.secret.encode()):
                return account
        elif scheme == "bearer":
            try:
                return self._by_key[jwt.decode(credentials, self._token_key, ["HS256"])["sub"]]
            except (jwt.PyJWTError, KeyError):
                pass
        raise ApiError(401, "not authenticated: key id and secret by Basic, or an access token not older than an hour")


class RateLimit:
    """DT's limit of requests, for each account: so many a second, in bursts of five times as many."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._burst = 5 * per_second
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, account: Account) -> None:
        """Count a request.

        Raises:
            ApiError: 429, with the seconds until the next request is allowed.
        """
        now = time.monotonic()
        left, since = self._left.get(account.key_id, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        if left < 1:
            self._left[account.key_id] = left, now
            raise ApiError(429, f"too many requests: {self._burst:.0f} in 5 s", headers={"Retry-After": "1"})
        self._left[account.key_id] = left - 1, now


def _kept_secret(database: Database, name: str) -> str:
    secret: str | None = database.meta(name)
    if secret is None:
        secret = secrets.token_hex(16)
        database.set_meta(name, secret)
    return secret
