"""DT Cloud's clock, by the Date header of its API."""

import time
import urllib.error
import urllib.request
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import HTTPException

from cli.connectors.access import Access

_TIMEOUT = 5.0


def ahead_of_here(access: Access) -> float | None:
    """Return how many seconds DT Cloud's clock is ahead of this machine's; None if its API does not say.

    A Date header has whole seconds.
    """
    # Only this machine is asked without TLS, and never through a proxy.
    proxies = urllib.request.ProxyHandler({} if access.is_desk else None)
    before = time.time()
    try:
        with urllib.request.build_opener(proxies).open(access.api, timeout=_TIMEOUT) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:  # without a token, as expected
        error.close()
        headers = error.headers
    except (OSError, ValueError, HTTPException):
        return None
    return ahead(headers.get("Date", ""), (before + time.time()) / 2)


def ahead(date: str, now: float) -> float | None:
    """Return how many seconds a Date header is ahead of a time, in seconds since 1970; None if it is not valid."""
    try:
        read = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() - now
