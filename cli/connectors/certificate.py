"""Looks at an endpoint's certificate as DT Cloud does: a chain to a public root, and the days that are left."""

import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT = 10.0
_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was found.

    Attributes:
        fault: Why it is not trusted; None if it is.
        days: Until it expires; None if unknown.
    """

    fault: str | None = None
    days: float | None = None


def look_at(url: str) -> Certificate | None:
    """Return an endpoint's certificate; None if it has none, or cannot be reached at all."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return None
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            found = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Certificate(fault=error.verify_message)
    except ssl.SSLError as error:
        return Certificate(fault=error.reason or "TLS fails")
    except OSError:
        return None
    expires = found.get("notAfter")
    days = (ssl.cert_time_to_seconds(expires) - time.time()) / _DAY if isinstance(expires, str) else None
    return Certificate(days=days)
