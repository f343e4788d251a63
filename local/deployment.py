"""Finds the local receiver and its secret, for dtconn: the file that `make run` wrote."""

import os
from pathlib import Path

from deployed import DeploymentError
from deployed.contract import Deployment, Place
from deployed.vendor import private_file
from local import address
from local.wiring import DATABASE, SECRET_FILE

_CLONE = Path(__file__).resolve().parent.parent


def find(_: Place) -> Deployment:
    """Return the receiver that `make run` starts."""
    return _Local()


class _Local(Deployment):
    settle_seconds = 0.0
    todo = "Restart the receiver now: it reads its secret at its start."

    def __init__(self) -> None:
        # By the same variables as `make run`, which have to be set here too.
        self.url = address.url()
        # As `make run` was started: here, or else in this clone.
        folder = Path() if SECRET_FILE.exists() else _CLONE
        self.source = os.environ.get("DT_DATABASE") or str(folder / DATABASE)
        self._path = folder / SECRET_FILE
        self.secret_command = f"cat {self._path}"

    def read_text(self) -> str:
        try:
            # The receiver leaves the white space at both ends out too.
            return self._path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise DeploymentError(
                f"{self._path} cannot be read ({type(error).__name__}). `make run` writes it, unless "
                "DT_SIGNATURE_SECRET is set: then change that yourself."
            ) from None

    def write_text(self, text: str) -> str:
        # In one step: a receiver that starts meanwhile reads the one or the other.
        with private_file(text, self._path.parent) as new:
            new.replace(self._path)
        return f"The secret is written to {self._path}."
