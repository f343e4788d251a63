"""``--webhook``: posts JSON to a person's own program."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Annotated, Any

import typer

from cli import CommandError

_TIMEOUT = 10.0
# Neither spaces nor control characters.
_PLAIN = re.compile(r"[!-~]+").fullmatch


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would become a GET, without the document."""

    def redirect_request(self, *_: object) -> None:
        return None


def _checked(url: str | None) -> str | None:
    try:
        parts = urllib.parse.urlsplit(url or "https://example.com")
        is_endpoint = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        # urllib does not know what to do with a user name.
        is_url = is_endpoint and "@" not in parts.netloc
    except ValueError:
        is_url = False
    if url is not None and not (is_url and _PLAIN(url)):
        # Not quoted: it may contain a secret.
        raise typer.BadParameter("It must be a URL such as https://example.com/alarm, without user name and password.")
    return url


Webhook = Annotated[
    str | None,
    typer.Option(envvar="DTCONN_WEBHOOK", metavar="URL", callback=_checked, help="Post it as JSON to this URL."),
]


def post(url: str, document: dict[str, Any]) -> None:
    """Post to the webhook.

    Raises:
        CommandError: It did not answer 2xx. The URL may contain a secret, so it is not quoted.
    """
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise CommandError(f"The webhook answered {error.code}.", 2) from None
    except (OSError, ValueError, HTTPException) as error:
        raise CommandError(f"The webhook cannot be reached: {type(error).__name__}.", 2) from None
