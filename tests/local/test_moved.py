"""The database file is moved, replaced, restored or damaged while hundreds of events are on their way into it."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from local.sqlite import SqliteStore
from tests.support.deliveries import fresh_body
from tests.support.processes import ROOT

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
AT_ONCE = 200


class Load:
    """Puts events, `AT_ONCE` at a time, each until it is acknowledged, and knows what was acknowledged when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SqliteStore(path)
        self.acknowledged: set[str] = set()
        self.refusals: list[str] = []

    async def put(self, event: Event) -> None:
        while True:
            try:
                await self.store.put(event, time.monotonic() + DEADLINE)
            except StoreUnavailableError as error:
                self.refusals.append(error.reason)
                await asyncio.sleep(0.05)
            else:
                self.acknowledged.add(event.key)
                return

    async def is_refused(self, cause: str) -> None:
        while cause not in self.refusals:
            await asyncio.sleep(0.01)

    async def put_many(self, count: int) -> set[str]:
        waiting = [parse_stored(fresh_body(), NOW) for _ in range(count)]
        keys = {event.key for event in waiting}

        async def one_after_the_other() -> None:
            while waiting:
                await self.put(waiting.pop())

        await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
        return keys


def keys(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {row[0] for row in connection.execute("SELECT key FROM events")}


def read_elsewhere(path: Path) -> set[str]:
    """Read the keys by another connection, while the store has the database open."""
    program = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT key FROM events'), sep='')"
    command = [sys.executable, "-c", program, str(path)]
    return set(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split("'")[1::2])


def put_through(
    path: Path, fault: Callable[[], object], before: int = 2500, earlier: Callable[[], object] = lambda: None
) -> tuple[set[str], set[str]]:
    """Return the keys acknowledged before ``fault``, and those of events first sent after it, which must be in place.

    Args:
        path: The database.
        fault: What is done while events are on their way.
        before: How many are acknowledged before ``earlier``, and as many after it.
        earlier: What is done first.
    """

    async def run() -> tuple[set[str], set[str]]:
        load = Load(path)
        await load.store.open()
        first = await load.put_many(before)
        await asyncio.to_thread(earlier)
        first |= await load.put_many(before)
        meanwhile = asyncio.create_task(load.put_many(2000))
        await asyncio.sleep(0.03)
        first |= set(load.acknowledged)
        await asyncio.to_thread(fault)
        later = await load.put_many(600)
        await meanwhile
        assert later <= await asyncio.to_thread(read_elsewhere, path)
        await load.store.close()
        assert later <= keys(path)
        return first, later

    return asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize("before", [50, 2500])
def test_moved_file_has_every_event_acknowledged_before(before: int, tmp_path: Path) -> None:
    path, archive = tmp_path / "events.db", tmp_path / "archive.db"
    first, _ = put_through(path, lambda: path.rename(archive), before)
    assert first <= keys(archive) | keys(path)
    assert len(keys(archive)) >= before


def test_file_rotated_by_logrotate(tmp_path: Path) -> None:
    path, archive = tmp_path / "events.db", tmp_path / "events.db.1"

    def rotate() -> None:
        path.rename(archive)
        path.touch(0o640)

    first, _ = put_through(path, rotate)
    assert first <= keys(archive) | keys(path)


RESTORES = [
    "mv",
    "mv, with a reader",
    "rm and cp",
    "cp",
    "VACUUM INTO and cp",
    # The store makes a new database in the empty file, which is then written over.
    "VACUUM INTO and cp, in two steps",
    ".restore",
]


@pytest.mark.parametrize("how", RESTORES)
def test_restored_backup_gets_the_events_that_follow(how: str, tmp_path: Path) -> None:
    path, backup = tmp_path / "events.db", tmp_path / "backup.db"
    reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)

    def back_up() -> None:
        with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(backup)) as copy:
            if how.startswith("VACUUM"):
                live.execute("VACUUM INTO ?", (str(backup),))
            else:
                live.backup(copy)
        if how.endswith("reader"):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()

    def restore() -> None:
        match how.split()[0].strip(","):
            case "mv":
                backup.rename(path)
            case "rm":
                path.unlink()
                path.write_bytes(backup.read_bytes())
            case ".restore":
                with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(backup)) as copy:
                    copy.backup(live)
            case _:
                with path.open("wb") as file:  # the same inode
                    time.sleep(0.5 if how.endswith("steps") else 0)
                    file.write(backup.read_bytes())

    first, _ = put_through(path, restore, 1500, back_up)
    reader.close()
    assert len(keys(path) & first) >= 1500


@pytest.mark.parametrize("before", [50, 2500])
@pytest.mark.parametrize("names", [["-wal"], ["-shm"], ["-wal", "-shm"], ["truncate"]])
def test_nothing_is_lost_without_the_wal(names: list[str], before: int, tmp_path: Path) -> None:
    path = tmp_path / "events.db"

    def damage() -> None:
        for name in names:
            if name == "truncate":
                os.truncate(f"{path}-wal", 0)
            else:
                os.unlink(f"{path}{name}")

    first, _ = put_through(path, damage, before)
    assert first <= keys(path)


def test_truncated_file_is_recreated(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    put_through(path, lambda: os.truncate(path, 0))


def test_changed_symbolic_link_is_followed(tmp_path: Path) -> None:
    path, one, other = tmp_path / "events.db", tmp_path / "one" / "a.db", tmp_path / "other" / "b.db"
    for file in (one, other):
        file.parent.mkdir()
        file.touch()
    path.symlink_to(one)

    def switch() -> None:
        (tmp_path / "new").symlink_to(other)
        (tmp_path / "new").rename(path)

    first, _ = put_through(path, switch)
    assert first <= keys(one) | keys(other)


def test_moved_folder_keeps_its_events_and_is_not_recreated(tmp_path: Path) -> None:
    path, archive = tmp_path / "var" / "events.db", tmp_path / "archive"

    async def run() -> tuple[set[str], Load]:
        load = Load(path)
        await load.store.open()
        first = await load.put_many(500)
        path.parent.rename(archive)
        refused = asyncio.create_task(load.put_many(300))
        await load.is_refused("FileNotFoundError")
        assert load.acknowledged == first
        # As where a disk was mounted.
        path.parent.mkdir()
        await load.is_refused("database_missing")
        assert load.acknowledged == first
        assert list(path.parent.iterdir()) == []
        assert first <= keys(archive / "events.db")
        path.parent.rmdir()
        archive.rename(path.parent)
        await refused
        await load.store.close()
        return first, load

    _, load = asyncio.run(asyncio.wait_for(run(), 30))
    assert load.acknowledged == keys(path)


UNMOUNT = """
import asyncio, os, subprocess, sys, time
from datetime import UTC, datetime
from pathlib import Path
from core.event import parse_stored
from core.stores.contract import StoreUnavailableError
from local.sqlite import SqliteStore
from tests.support.deliveries import fresh_body

async def put(store):
    await store.put(parse_stored(fresh_body(), datetime.now(UTC)), time.monotonic() + 8)

async def run(folder):
    store = SqliteStore(folder / "events.db")
    await put(store)
    subprocess.run(["umount", "--lazy", folder], check=True)
    try:
        await put(store)
    except StoreUnavailableError as error:
        print(error.reason, os.listdir(folder))
    await store.close()

subprocess.run(["mount", "-t", "tmpfs", "disk", sys.argv[1]], check=True)
asyncio.run(run(Path(sys.argv[1])))
"""


def test_no_database_is_created_where_a_disk_was_unmounted(tmp_path: Path) -> None:
    in_own_mounts = ["unshare", "--map-root-user", "--mount"]
    can_mount = shutil.which("unshare") and not subprocess.run([*in_own_mounts, "true"], check=False).returncode
    if not can_mount:
        pytest.skip("needs unshare(1), and the right to mount in a namespace of its own")
    command = [*in_own_mounts, sys.executable, "-c", UNMOUNT, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "database_missing []\n", done.stderr
