"""Stand-ins for vendors' command lines: programs on the PATH that ask a test what to print.

They are not the vendors' programs: that these know the commands and print this, is taken from their documentation.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.loopback import Call, Reply, loopback

PROGRAM = r"""#!{python} -IS
# A stand-in for {name}: a test answers.
import json, os, sys, urllib.request
argv, files = sys.argv[1:], {{}}
for word in argv:
    path = word.partition("=")[2] or word
    if path.startswith("/") and os.path.isfile(path):
        files[path] = [open(path, newline="").read(), oct(os.stat(path).st_mode & 0o777)]
call = json.dumps({{"program": {name!r}, "argv": argv, "stdin": sys.stdin.read(), "files": files}}).encode()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
request = urllib.request.Request({url!r}, call, {{"Content-Type": "application/json"}})
answer = json.load(opener.open(request, timeout=300))
sys.stdout.write(answer["stdout"])
sys.exit(answer["stderr"] or 0)
"""


class RefusedError(Exception):
    """The program fails with this message."""


@dataclass
class Command:
    """One call of a program.

    Attributes:
        argv: Its arguments.
        stdin: Its standard input.
        files: Content and mode of the files that an argument names.
    """

    argv: list[str]
    stdin: str = field(repr=False)
    files: dict[str, tuple[str, str]] = field(repr=False)

    @property
    def line(self) -> str:
        """The arguments, joined."""
        return " ".join(self.argv)

    def option(self, name: str) -> str:
        """Return the value of an option, after a space or ``=``."""
        for index, word in enumerate(self.argv):
            if word == name:
                return self.argv[index + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        raise RefusedError(f"{name} is missing: {self.line}")

    def private(self) -> str:
        """Return the content of the one file that an argument names; only its owner can read it."""
        [(content, mode)] = self.files.values()
        assert mode == "0o600", mode
        return content


class Vendor:
    """A program, and the calls so far.

    Attributes:
        commands: The arguments of each call.
    """

    def __init__(self, answering: Callable[[Command], Any]) -> None:
        self.commands: list[list[str]] = []
        self._answering = answering
        self._lock = threading.Lock()

    def answer(self, call: Call) -> Reply:
        """Answer a call of the program."""
        command = Command(call.parameters["argv"], call.parameters["stdin"], call.parameters["files"])
        with self._lock:
            self.commands.append(command.argv)
            printed, refusal = "", ""
            try:
                result = self._answering(command)
                printed = result if isinstance(result, str) else json.dumps(result)
            except (RefusedError, AssertionError) as error:
                refusal = f"ERROR: {error}"
        return Reply(200, json.dumps({"stdout": printed, "stderr": refusal}).encode())


@contextmanager
def vendor(
    name: str, answering: Callable[[Command], Any], folder: Path, request: pytest.FixtureRequest
) -> Iterator[Vendor]:
    """Put a stand-in for a program on the PATH, whose output is a text or a document."""
    standing = Vendor(answering)
    with loopback(standing.answer) as server:
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROGRAM.format(python=sys.executable, name=name, url=server.url))
        path.chmod(0o755)
        monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
        yield standing
