"""The database file is moved, deleted or copied over while another program reads and so keeps events in the log."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import local.database
from core.receiver import DEADLINE
from tests.local.test_moved import Load, keys

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
print(connection.execute("SELECT count(*) FROM events").fetchone(), flush=True)
sys.stdin.read()
"""
# More than a store keeps in memory.
MANY = 12_000


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Have another process read, which sees the database as it is now until the end."""
    process = subprocess.Popen([sys.executable, "-c", READER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        process.stdout.readline()
        yield
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def put_back_log(path: Path, moved: Path) -> None:
    """Follow the instruction in the log line of the event."""
    [log] = path.parent.glob("events.db-wal.*")
    log.rename(f"{moved}-wal")


@pytest.mark.parametrize("count", [200, MANY])
def test_moved_file_and_the_new_one_have_everything(count: int, tmp_path: Path) -> None:
    path, archive = tmp_path / "events.db", tmp_path / "archive" / "2026.db"
    archive.parent.mkdir()

    async def story() -> None:
        load = Load(path)
        await load.store.open()
        await load.put_many(600)
        with reading(path):
            first = await load.put_many(count)
            path.rename(archive)
            await load.put_many(300)
        await load.store.close()
        put_back_log(path, archive)
        assert load.acknowledged <= keys(archive) | keys(path)
        # Without the log, too.
        assert first <= keys(path)

    run(story())


def test_restarted_receiver_keeps_events_left_in_the_wal(tmp_path: Path) -> None:
    path, archive = tmp_path / "events.db", tmp_path / "archive.db"

    async def story() -> None:
        before = Load(path)
        await before.store.open()
        with reading(path):
            await before.put_many(300)
            await before.store.close()
            after = Load(path)
            await after.store.open()
            await after.put_many(100)
            path.rename(archive)
            await after.put_many(100)
        await after.store.close()
        assert before.acknowledged | after.acknowledged <= keys(path)

    run(story())


def test_too_large_wal_is_refused_until_the_reader_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.database, "MAX_TAKEN", 500)
    path, archive = tmp_path / "events.db", tmp_path / "archive.db"

    async def story() -> None:
        load = Load(path)
        await load.store.open()
        with reading(path):
            await load.put_many(600)
            path.rename(archive)
            refused = asyncio.create_task(load.put_many(50))
            await load.is_refused("moved_while_read")
        await refused
        await load.store.close()
        assert load.acknowledged <= keys(archive) | keys(path)

    run(story())


@pytest.mark.parametrize("is_read", [False, True])
def test_move_to_another_disk_loses_nothing(is_read: bool, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    disk = Path("/dev/shm")
    if not disk.is_dir() or disk.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system at /dev/shm")

    async def story(archive: Path) -> None:
        load = Load(path)
        await load.store.open()
        await load.put_many(500)
        if is_read:
            with reading(path):
                await load.put_many(500)
                shutil.move(path, archive)
                await load.put_many(100)
        else:
            shutil.move(path, archive)
            await load.put_many(100)
        await load.store.close()
        assert load.acknowledged <= keys(path)

    with tempfile.TemporaryDirectory(dir=disk) as folder:
        run(story(Path(folder) / "archive.db"))


@pytest.mark.parametrize("name", ["-wal", "-shm"])
@pytest.mark.parametrize("count", [200, MANY])
def test_deleted_wal_loses_nothing(count: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "events.db"

    async def story() -> None:
        load = Load(path)
        await load.store.open()
        await load.put_many(600)
        with reading(path):
            await load.put_many(count)
            os.unlink(f"{path}{name}")
            await load.put_many(100)
        await load.put_many(100)
        await load.store.close()
        assert load.acknowledged <= keys(path)

    run(story())


def test_wal_is_emptied_without_readers(tmp_path: Path) -> None:
    path = tmp_path / "events.db"

    async def story() -> None:
        load = Load(path)
        await load.store.open()
        with reading(path):
            await load.put_many(200)
            await asyncio.sleep(1.5)
            assert os.stat(f"{path}-wal").st_size
        async with asyncio.timeout(DEADLINE):
            while os.stat(f"{path}-wal").st_size:
                await asyncio.sleep(0.1)
        await load.store.close()

    run(story())


def test_backup_copied_over_the_database_is_used(tmp_path: Path) -> None:
    path, backup = tmp_path / "events.db", tmp_path / "backup.db"

    async def story() -> None:
        load = Load(path)
        await load.store.open()
        first = await load.put_many(600)
        with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(backup)) as copy:
            live.backup(copy)
        await load.put_many(300)
        await asyncio.sleep(1.5)
        with closing(sqlite3.connect(path)) as other:
            other.execute("DELETE FROM events WHERE rowid <= 20")
            other.commit()
        path.write_bytes(backup.read_bytes())
        later = await load.put_many(300)
        await load.store.close()
        assert first | later <= keys(path)

    run(story())
