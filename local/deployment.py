"""Finds the local receiver and its secret, for dtconn: the file that `make run` wrote."""

from pathlib import Path

from cli import CommandError
from cli.deployment import Deployment, Place
from cli.places import find as find_path
from cli.vendor import private_file
from local.wiring import DATABASE

_SECRET = Path("var/signature-secret")


def find(_: Place) -> Deployment:
    """Return the receiver that `make run` starts."""
    return _Local()


class _Local(Deployment):
    settle_seconds = 0.0

    def __init__(self) -> None:
        self.url = "http://127.0.0.1:8000"
        self.source = str(find_path(Path(DATABASE)))
        self._path = find_path(_SECRET)
        self.secret_command = f"cat {self._path}"

    def read_text(self) -> str:
        try:
            # The receiver leaves the white space at both ends out too.
            return self._path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise CommandError(
                f"{self._path} cannot be read ({type(error).__name__}). `make run` writes it, unless "
                "DT_SIGNATURE_SECRET is set: then change that yourself."
            ) from None

    def write_text(self, text: str) -> str:
        # In one step: a receiver that starts meanwhile reads the one or the other.
        with private_file(text, self._path.parent) as new:
            new.replace(self._path)
        return "Now restart the receiver: it reads its secret at its start."
