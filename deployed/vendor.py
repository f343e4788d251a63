"""Runs the command line of a cloud's vendor."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployed import DeploymentError

# Seconds for one command. A new revision takes a minute or two.
_TIMEOUT = 600.0
_MAX_MESSAGE = 300
# What may come before a document: lines such as "Getting application ...".
_BEFORE = re.compile(r"\A(?:[^{\[\n][^\n]*\n|\n)*")


class Tool:
    """One vendor's command line.

    Args:
        program: Its name on the PATH.
        page: Where to get it.
        login: The command that logs in.
    """

    def __init__(self, program: str, page: str, login: str) -> None:
        self._program = program
        self._page = page
        self._login = login

    def run(self, *arguments: str, stdin: str = "", folder: Path | None = None) -> str:
        """Run a command, and return what it prints.

        Args:
            arguments: Its arguments; never a secret.
            stdin: Its standard input, where a secret may be.
            folder: Its working directory.

        Raises:
            DeploymentError: It is not installed, or it fails.
        """
        path = shutil.which(self._program)
        if path is None:
            raise DeploymentError(f"{self._program} is not installed. Get it: {self._page}")
        try:
            done = subprocess.run(  # noqa: S603 - the arguments are a list, without a shell
                [path, *arguments],
                input=stdin,
                cwd=folder,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeploymentError(f"{self._command(arguments)} did not end within {_TIMEOUT:.0f} s.") from None
        if done.returncode:
            raise DeploymentError(
                f"{self._command(arguments)} failed{_reason(done.stderr, stdin)} If you are not logged in: "
                f"{self._login}"
            )
        return done.stdout

    def json(self, *arguments: str, stdin: str = "", folder: Path | None = None) -> Any:
        """Run a command that prints JSON, and return the document; arguments and errors as `run`."""
        printed = self.run(*arguments, stdin=stdin, folder=folder)
        try:
            return json.loads(_BEFORE.sub("", printed))
        except (ValueError, RecursionError):
            raise DeploymentError(f"{self._command(arguments)} printed no JSON: is it an old version?") from None

    def _command(self, arguments: tuple[str, ...]) -> str:
        return f"`{' '.join((self._program, *arguments))}`"


@contextmanager
def private_file(text: str, folder: Path | None = None) -> Iterator[Path]:
    """Yield a file with this text, which only its owner can read, and delete it afterwards if it is still there."""
    number, name = tempfile.mkstemp(prefix="dtconn-", dir=folder)  # with mode 600
    path = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _reason(text: str, hidden: str) -> str:
    """Return the line of an error message that says most, after a colon; never what was on standard input."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or (hidden and hidden.strip() in text):
        return "."
    line = next((line for line in lines if "error" in line.lower()), lines[-1])
    return f": {''.join(filter(str.isprintable, line))[:_MAX_MESSAGE].rstrip('.')}."
