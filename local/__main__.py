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

from core.receiver import AsyncUnconfiguredReceiver
from local import address
from local.page import Page
from local.place import explain, fault_of
from local.wiring import DATABASE, SECRET_FILE, build_receiver, is_any_url
from server.serve import UVICORN, build_app, prepare

WELCOME = """
Listening on http://127.0.0.1:{port}, storing in {database}. The signature secret is {source}.
Try, in another terminal:

{commands}
"""
_ELSEWHERE = "Start the receiver in a folder of yours, or set DT_DATABASE and DT_SIGNATURE_SECRET."
_OTHER_FILE = "Set DT_DATABASE to a file in a folder of yours."


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
    faults: list[str] = []
    source = "in DT_SIGNATURE_SECRET"
    if environ.get("DT_SIGNATURE_POLICY") in ("es256", "unsigned"):
        source = "not used"
    elif not environ.get("DT_SIGNATURE_SECRET"):
        source, environ["DT_SIGNATURE_SECRET"] = f"in {SECRET_FILE}", own_secret(SECRET_FILE, faults)
    database = environ.get("DT_DATABASE") or DATABASE
    if not is_any_url(database) and (fault := fault_of(Path(database))):
        faults.append(f"{fault}. {_ELSEWHERE if database == DATABASE else _OTHER_FILE}")
    receiver = build_receiver(environ)
    if isinstance(receiver, AsyncUnconfiguredReceiver):
        faults += receiver.error.faults
    page = Page(Path(database))
    with listening(address.port(), faults) as sockets:
        if faults:
            # One cause may be in the way of both files.
            sys.exit("\n".join(dict.fromkeys(faults)))
        app = build_app(receiver, page)
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
        ("make send" + (f" ARGS=http://127.0.0.1:{port}" if port != address.PORT else ""), shown),
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
def listening(port: str, faults: list[str]) -> Iterator[list[socket.socket]]:
    """Bind the port before anything else starts; if it cannot be, say why in ``faults``."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            faults.append("PORT must be a number from 1 to 65535, such as 8000.")
        else:
            try:
                bound.bind(("127.0.0.1", int(port)))
            except OSError as error:
                is_taken = error.errno == errno.EADDRINUSE
                reason = "is in use, perhaps by another receiver" if is_taken else "cannot be used"
                faults.append(f"Port {port} {reason}. Stop what listens there, or set PORT to another number.")
        yield [bound]


def own_secret(path: Path, faults: list[str]) -> str:
    """Return the secret in the file ``path``; create the file, readable only by its owner, if it is missing.

    If that cannot be, say why in ``faults``, and return a secret that nobody knows.
    """
    fresh = secrets.token_urlsafe(32)
    if not os.path.exists(path):
        if fault := fault_of(path):
            faults.append(f"{fault}. {_ELSEWHERE}")
            return fresh
        # Another receiver may be first.
        with contextlib.suppress(FileExistsError), open(path, "x", opener=_private) as file:
            file.write(fresh)
    try:
        return path.read_text().strip()
    except ValueError:
        faults.append(f"{path} is not text. Delete it, or set DT_SIGNATURE_SECRET.")
    except OSError as error:
        faults.append(f"{explain(error, path, 'read')}. {_ELSEWHERE}")
    return fresh


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


if __name__ == "__main__":
    main()
