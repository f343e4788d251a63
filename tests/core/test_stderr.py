"""Python's logging to standard error never blocks the process."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.stderr import never_wait

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging
from core.stderr import never_wait
never_wait()
for _ in range(5000):
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
print("done", flush=True)
"""


def test_unread_standard_error_does_not_block() -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=True
    )
    os.close(writer)
    assert done.stdout == b"done\n"
    assert os.read(reader, 100).startswith(b"Invalid HTTP request received.\n")
    os.close(reader)


def test_warnings_and_errors_are_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "lastResort", None)
    never_wait()
    handler = logging.lastResort
    assert handler
    assert handler.level == logging.WARNING
    handler.handle(logging.LogRecord("x", logging.ERROR, "x", 1, "here: %s", ("it",), None))
    assert capsys.readouterr().err == "here: it\n"
