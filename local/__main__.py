"""``make run``: the receiver on 127.0.0.1, with a generated secret if none is set."""

import argparse
import contextlib
import errno
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from local.page import Page
from local.wiring import DATABASE, SECRET_FILE, build_receiver
from server.serve import UVICORN, build_app, prepare

WELCOME = """
Listening on http://127.0.0.1:{port}, storing in {database}. The signature secret is {source}.
Try, in another terminal:

{commands}
"""
_PORT = 8000


EXAMPLES = """\
examples:
  make run
  PORT=8080 DT_DATABASE=events/2026.db make run
  DT_SIGNATURE_SECRET="the secret in DT Studio" make run

All settings are environment variables: docs/settings.md.
"""


class Server(uvicorn.Server):
    """Prints a welcome when it listens; on shutdown, ends the page's streams before it waits for open requests.

    Args:
        config: uvicorn's.
        page: The page.
        welcome: What to print.
    """

    def __init__(self, config: uvicorn.Config, page: Page, welcome: str) -> None:
        super().__init__(config)
        self._page = page
        self._welcome = welcome

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does."""
        await super().startup(sockets)
        if self.started:
            with contextlib.suppress(OSError):  # a full disk below standard error must not prevent the start
                print(self._welcome, file=sys.stderr, flush=True)

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
    source = "in DT_SIGNATURE_SECRET"
    if environ.get("DT_SIGNATURE_POLICY") in ("es256", "unsigned"):
        source = "not used"
    elif not environ.get("DT_SIGNATURE_SECRET"):
        source, environ["DT_SIGNATURE_SECRET"] = f"in {SECRET_FILE}", own_secret(SECRET_FILE)
    database = environ.get("DT_DATABASE") or DATABASE
    page = Page(Path(database))
    app = build_app(build_receiver(environ), page)
    with listening(environ.get("PORT") or str(_PORT)) as sockets:
        port = sockets[0].getsockname()[1]
        config = uvicorn.Config(app, host="127.0.0.1", port=port, **UVICORN)
        with contextlib.suppress(KeyboardInterrupt):
            Server(config, page, welcome(port, database, source)).run(sockets)


def welcome(port: int, database: str, source: str) -> str:
    """Return what to try, with the commands that reach this receiver."""
    shown = "sends one signed event, as DT Cloud would; a browser at the address above shows it"
    if "DT_SIGNATURE_SECRET" in source:
        shown = "sends one signed event, if DT_SIGNATURE_SECRET is set there too"
    lines = (
        ("make send" + (f" ARGS=http://127.0.0.1:{port}" if port != _PORT else ""), shown),
        (
            (f"DT_DATABASE={shlex.quote(database)} " if database != DATABASE else "") + "make events",
            "lists stored events",
        ),
        (f"ngrok http {port}", "gives DT Cloud a way here; the README has the rest"),
    )
    width = max(len(command) for command, _ in lines)
    commands = "\n".join(f"  {command:{width}}   {meaning}" for command, meaning in lines)
    return WELCOME.format(port=port, database=database, source=source, commands=commands)


@contextlib.contextmanager
def listening(port: str) -> Iterator[list[socket.socket]]:
    """Bind the port before anything else starts, or end the process with the reason."""
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        sys.exit("PORT must be a number from 1 to 65535, such as 8000.")
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", int(port)))
        except OSError as error:
            reason = "is in use, perhaps by another receiver" if error.errno == errno.EADDRINUSE else "cannot be used"
            sys.exit(f"Port {port} {reason}. Stop what listens there, or set PORT to another number.")
        yield [bound]


def own_secret(path: Path) -> str:
    """Return the secret in the file ``path``; create the file, readable only by its owner, if it is missing."""
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
        return path.read_text().strip()
    except (OSError, ValueError) as error:
        sys.exit(
            f"{path} cannot be read or written ({type(error).__name__}). Start the receiver in a folder of yours, or "
            "set DT_SIGNATURE_SECRET."
        )


if __name__ == "__main__":
    main()
