"""fauxqs, an SQS in a subprocess: unlike moto, it is right about FIFO queues and invalid messages."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port, wait_for
from tests.support.processes import spawn

_FOLDER = Path(__file__).with_name("node")


@contextmanager
def fauxqs() -> Iterator[str]:
    """Yield the address of a new server, or skip if it is not installed."""
    node = shutil.which("node")
    if not node or not (_FOLDER / "node_modules" / "fauxqs").is_dir():
        pytest.skip("no fauxqs: install Node.js 20 or newer with npm, then `make test` installs it")
    port = free_port()
    process = spawn([node, "fauxqs.mjs", str(port)], cwd=_FOLDER, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
