"""Where DT's API is, and who asks it: from the variables of DT's Terraform provider, or of DT's Python client."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cli import CommandError
from core.environment import is_secure_url

API = "https://api.disruptive-technologies.com"
EMULATOR = "https://emulator.disruptive-technologies.com"
TOKENS = "https://identity.disruptive-technologies.com/oauth2/token"

# Key id, secret and e-mail address: of the Terraform provider, and of the Python client.
_TERRAFORM = ("DT_API_KEY_ID", "DT_API_KEY_SECRET", "DT_OIDC_EMAIL")
_PYTHON = ("DT_SERVICE_ACCOUNT_KEY_ID", "DT_SERVICE_ACCOUNT_SECRET", "DT_SERVICE_ACCOUNT_EMAIL")
_FILE = "DT_CREDENTIALS_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The addresses of DT's services, and a service account.

    Attributes:
        api: The API's base URL, with ``/v2``.
        emulator: The emulator's, with ``/v2``.
        tokens: The token endpoint.
        key_id: The id of the account's key.
        secret: The key's secret.
        email: The account's address.
    """

    api: str
    emulator: str
    tokens: str
    key_id: str
    secret: str = field(repr=False)
    email: str

    @property
    def host(self) -> str:
        """The API's host."""
        return urlsplit(self.api).hostname or ""

    @property
    def is_desk(self) -> bool:
        """Whether the API is DT Cloud on the desk: only this machine is asked without TLS."""
        return self.api.startswith("http:")


def has_account() -> bool:
    """Return whether the environment names a service account, or a part of one."""
    return any(os.environ.get(name, "").strip() for name in (*_TERRAFORM, *_PYTHON, _FILE))


def load_access(environ: Mapping[str, str] | None = None) -> Access:
    """Read the variables.

    Raises:
        CommandError: One is missing or invalid; the text names it, and no value.
    """
    found = {name: text.strip() for name, text in (os.environ if environ is None else environ).items() if text.strip()}
    key_id, secret, email, tokens = _credentials(found)
    addresses = {
        "DT_API_URL": found.get("DT_API_URL", API),
        "DT_EMULATOR_URL": found.get("DT_EMULATOR_URL", EMULATOR),
        "DT_OIDC_TOKEN_ENDPOINT": found.get("DT_OIDC_TOKEN_ENDPOINT") or tokens or TOKENS,
    }
    for name, url in addresses.items():
        if not _is_address(url):
            raise CommandError(
                f"{name} must begin with https://, or be on this machine, such as {API}: without user name and query.",
                2,
            )
    access = Access(
        api=_with_version(addresses["DT_API_URL"]),
        emulator=_with_version(addresses["DT_EMULATOR_URL"]),
        tokens=addresses["DT_OIDC_TOKEN_ENDPOINT"],
        key_id=key_id,
        secret=secret,
        email=email,
    )
    for name in ("DT_EMULATOR_URL", "DT_OIDC_TOKEN_ENDPOINT"):
        if access.is_desk and not addresses[name].startswith("http:"):
            raise CommandError(
                f"DT_API_URL is on this machine, and {name} is not. Paste all lines that `make cloud` prints.", 2
            )
    return access


def _credentials(found: Mapping[str, str]) -> tuple[str, str, str, str | None]:
    """Return key id, secret, address, and the token endpoint of a credentials file."""
    for names in (_TERRAFORM, _PYTHON):
        missing = [name for name in names if name not in found]
        if not missing:
            key_id, secret, email = (found[name] for name in names)
            return key_id, secret, email, None
        if len(missing) < len(names):
            raise CommandError(f"Set {' and '.join(missing)} too: a service account has a key id, a secret and an "
                               "address. DT Studio shows them once, when the key is created.", 2)  # fmt: skip
    if _FILE in found:
        return _credentials_file(Path(found[_FILE]))
    raise CommandError(
        f"There is no service account to ask DT Cloud with. Create one in DT Studio, with the role Project Developer, "
        f"and set {', '.join(_TERRAFORM[:2])} and {_TERRAFORM[2]}. For DT Cloud on your desk, paste what `make cloud` "
        "prints.",
        2,
    )


def _credentials_file(path: Path) -> tuple[str, str, str, str | None]:
    try:
        account = json.loads(path.read_text(encoding="utf-8"))["serviceAccount"]
        values = [account[name] for name in ("keyId", "secret", "email")]
        endpoint = account.get("tokenEndpoint")
        if all(isinstance(value, str) and value for value in values) and isinstance(endpoint, str | None):
            return values[0], values[1], values[2], endpoint
    except OSError as error:
        raise CommandError(f"{_FILE} cannot be read: {error.strerror}.", 2) from None
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise CommandError(f"{_FILE} must name a JSON file with serviceAccount: keyId, secret, email, tokenEndpoint.", 2)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_valid and is_secure_url(url) and not (parts.username or parts.password or parts.query or parts.fragment)


def _with_version(url: str) -> str:
    """Return a base URL with ``/v2``, which Terraform's variables leave out."""
    url = url.rstrip("/")
    return url if url.endswith("/v2") else f"{url}/v2"
