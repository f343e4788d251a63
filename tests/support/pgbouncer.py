"""PgBouncer between a store and the tests' PostgreSQL, if it is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port, wait_for
from tests.support.postgres import owner

# Debian installs it in a folder that is not on most users' PATH.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="no PgBouncer on this machine: apt-get install pgbouncer")


@contextmanager
def pgbouncer(port: int, mode: str, folder: Path) -> Iterator[int]:
    """Yield the port of a PgBouncer with its defaults and four sessions.

    Args:
        port: PostgreSQL's port.
        mode: PgBouncer's pool mode: ``session`` or ``transaction``.
        folder: The folder for its files.
    """
    assert PROGRAM
    user = owner()
    listen = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {listen}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 4\n"
    )
    # It refuses root, and other users cannot enter pytest's folders: it reads an open file.
    with settings.open() as opened, (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [PROGRAM, "/dev/stdin"], stdin=opened, stdout=log, stderr=log, user=user, cwd="/", start_new_session=True
        )
    try:
        wait_for(listen, process)
        yield listen
    finally:
        process.kill()
        process.wait()
