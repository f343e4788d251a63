"""Normalizes the URL of a Postgres database, so that every driver reads it alike."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from core.environment import SettingsError

# SQLAlchemy names the driver after a plus.
_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_HOST = re.compile(r"(?P<name>[^\s:,\[\]]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")
# A host that is a path is the folder of a socket.
_LOCAL = re.compile(r"/.*|(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?").fullmatch
# https://www.postgresql.org/docs/current/libpq-ssl.html; no-verify is node-postgres' name for require.
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full", "no-verify")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_PARAMETERS = (
    *("host", "port", "user", "password", "dbname", "sslmode", *_FILES, "target_session_attrs"),
    *("application_name", "options", "search_path"),
)
_EXAMPLE = "postgres://user:password@host:5432/name"


def database_url(environ: Mapping[str, str]) -> str:
    """Return DATABASE_URL in the form of `normalized`.

    Raises:
        core.environment.SettingsError: It is not set, or invalid.
    """
    url = environ.get("DATABASE_URL")
    if not url:
        raise SettingsError(
            ["DATABASE_URL is not set. Add a database: heroku addons:create heroku-postgresql:essential-0"]
        )
    return normalized(url)


def is_url(text: str) -> bool:
    """Return whether a text looks like the URL of a Postgres database."""
    return bool(_SCHEME.match(_bare(text)))


def normalized(url: str) -> str:
    """Return a URL that libpq and asyncpg read alike, with every reserved character encoded.

    Surrounding white space and quotes, and a driver's name in the scheme, are removed. TLS is required except on
    loopback, without a certificate check, because Heroku's are self-signed; ``sslmode`` overrides this.

    Args:
        url: ``postgres://user:password@host:port/name?sslmode=...``; several hosts are separated by commas.

    Raises:
        core.environment.SettingsError: The URL is invalid. The error says why, without quoting the URL.
    """
    url = _bare(url)
    scheme = _SCHEME.match(url)
    if not scheme:
        raise _fault(f"must begin with postgres:// or postgresql://, such as {_EXAMPLE}")
    authority, path, query = _parts(url[scheme.end() :])
    user, _, hosts = authority.rpartition("@")
    name, _, password = user.partition(":")
    found = [_HOST.fullmatch(host) for host in hosts.split(",")] if hosts else []
    if not all(host and int(host["port"] or 5432) < 65_536 and _is_name(host["name"]) for host in found):
        raise _fault("has an invalid host or port. In a password, write / as %2F, ? as %3F and # as %23")
    parameters = _parameters(query)
    if not (path or parameters.get("dbname")):
        raise _fault(f"names no database: add its name at the end, as in {_EXAMPLE}")
    names = [unquote(host["name"]) for host in found if host] or parameters.get("host", "/").split(",")
    if "sslmode" not in parameters and not all(_LOCAL(name.lower()) for name in names):
        parameters["sslmode"] = "require"
    login = quote(unquote(name), "") + (f":{quote(unquote(password), '')}" if password else "") + "@" * bool(user)
    suffix = f"?{urlencode(parameters)}" if parameters else ""
    return f"postgres://{login}{hosts}/{quote(unquote(path), '')}{suffix}"


def one_per_host(url: str) -> list[str]:
    """Return one URL for each host of a normalized URL."""
    login, at, rest = url.removeprefix("postgres://").rpartition("@")
    hosts, slash, tail = rest.partition("/")
    return [f"postgres://{login}{at}{host}{slash}{tail}" for host in hosts.split(",")]


def _bare(url: str) -> str:
    url = url.strip()
    return url[1:-1].strip() if len(url) > 1 and url[0] == url[-1] and url[0] in "\"'" else url


def _parts(rest: str) -> tuple[str, str, str]:
    """Split the part after the scheme into authority, path and query."""
    parts = re.fullmatch(r"(?P<authority>[^/?#]*)(?:/(?P<path>[^/?#@]*))?(?:\?(?P<query>[^#@]*))?", rest)
    if not parts:
        # Probably a password with one of these characters: its end is ambiguous.
        raise _fault(
            "has a reserved character in the wrong place. In user and password, write @ as %40, / as %2F, ? as %3F and "
            "# as %23"
        )
    return parts["authority"], parts["path"] or "", parts["query"] or ""


def _parameters(query: str) -> dict[str, str]:
    try:
        parameters = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise _fault("ends in invalid parameters: write them as ?name=value&name=value") from None
    if not parameters.keys() <= {*_PARAMETERS}:
        raise _fault(f"has an unknown parameter. Known are {', '.join(_PARAMETERS)}")
    if not all(port.isascii() and port.isdigit() for port in parameters.get("port", "0").split(",")):
        raise _fault("has a port that is not a number")
    if parameters.get("sslmode", "require") not in _SSL_MODES:
        raise _fault(f"has an unknown sslmode. Known are {', '.join(_SSL_MODES)}")
    if parameters.get("sslmode") == "no-verify":
        parameters["sslmode"] = "require"
    for name in _FILES:
        if name in parameters and not Path(parameters[name]).is_file():
            raise _fault(f"has {name} set to a file that does not exist")
    return parameters


def _is_name(host: str) -> bool:
    """Return whether a host can be looked up: no empty label, and none above 63 characters."""
    try:
        return bool(unquote(host).encode("idna"))
    except UnicodeError:
        return False


def _fault(what: str) -> SettingsError:
    return SettingsError([f"DATABASE_URL {what}."])
