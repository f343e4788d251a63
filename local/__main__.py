"""``make run``: the receiver on 127.0.0.1, with a generated secret if none is set."""

import argparse
import contextlib
import os
import secrets
import socket
import sys
from pathlib import Path

import uvicorn

from local.page import Page
from local.wiring import DATABASE, build_receiver
from server.serve import UVICORN, build_app, prepare

SECRET_FILE = Path("var/signature-secret")

WELCOME = """
Listening on http://127.0.0.1:{port}, storing in {database}. Try, in another terminal:

  make send                   sends one signed event, as DT Cloud would; a browser at the address above shows it
  make events                 lists what is stored
  ngrok http {port}             gives DT Cloud a way here; the README has the rest
"""


EXAMPLES = """\
examples:
  make run
  PORT=8080 DT_DATABASE=events/2026.db make run
  DT_SIGNATURE_SECRET="the secret in DT Studio" make run

All settings are environment variables: docs/settings.md.
"""


class Server(uvicorn.Server):
    """Prints its address when it listens; on shutdown, ends the page's streams before it waits for open requests.

    Args:
        config: uvicorn's.
        page: The page.
    """

    def __init__(self, config: uvicorn.Config, page: Page) -> None:
        super().__init__(config)
        self._page = page

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does."""
        await super().startup(sockets)
        if self.started:
            database = os.environ.get("DT_DATABASE") or DATABASE
            with contextlib.suppress(OSError):  # a full disk below standard error must not prevent the start
                print(WELCOME.format(port=self.config.port, database=database), file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does."""
        self._page.close()
        await super().shutdown(sockets)


def main() -> None:
    """Run until SIGTERM or Ctrl-C; then answer open requests, and stop."""
    argparse.ArgumentParser(
        prog="python -m local",
        description="Receive events on 127.0.0.1, and store them in SQLite.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    prepare()
    environ = dict(os.environ)
    if not environ.get("DT_SIGNATURE_SECRET") and environ.get("DT_SIGNATURE_POLICY") not in ("es256", "unsigned"):
        environ["DT_SIGNATURE_SECRET"] = own_secret(SECRET_FILE)
    port = environ.get("PORT") or "8000"
    if not port.isdigit():
        sys.exit("PORT must be a number, such as 8000.")
    page = Page(build_app(build_receiver(environ)), Path(environ.get("DT_DATABASE") or DATABASE))
    config = uvicorn.Config(page, host="127.0.0.1", port=int(port), **UVICORN)
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, page).run()


def own_secret(path: Path) -> str:
    """Return the secret in the file ``path``; create the file, readable only by its owner, if it is missing."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


if __name__ == "__main__":
    main()
