"""The log's file descriptor: a reader that reads, pauses or closes."""

import io
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from core.lines import MAX_KEPT, Lines

LINE = "x" * 199 + "\n"
COUNT = 10_000


def dropped(count: int) -> str:
    return f"{count} dropped\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        yield reader, stream
        os.close(reader)


def read_until(reader: int, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += os.read(reader, 65_536)
    return data


def test_lines_are_written_at_once(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    lines = Lines(stream, dropped)
    for text in ("one\n", "two\nthree\n", "ø\n", "\ud800\n", "long " * 2000 + "\n"):
        lines.write(text)
        assert os.read(reader, 65_536).decode() == text.replace("\ud800", "\\ud800")


def test_paused_reader_does_not_block_and_gets_a_count_of_lost_lines(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    lines = Lines(stream, dropped)
    started = time.monotonic()
    for number in range(COUNT):
        lines.write(f"{number:06}{LINE[6:]}")
    assert time.monotonic() - started < 10
    *read, said = read_until(reader, b"dropped\n").decode().splitlines()
    assert [int(line[:6]) for line in read] == list(range(len(read)))
    assert said == f"{COUNT - len(read)} dropped"
    assert MAX_KEPT < len(read) * len(LINE) < MAX_KEPT + 200_000
    lines.write("after\n")
    assert os.read(reader, 65_536) == b"after\n"


def test_buffered_lines_are_written_at_exit(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    lines = Lines(stream, dropped)
    for _ in range(1000):
        lines.write(LINE)
    started = time.monotonic()
    lines.drain(0.05)
    assert time.monotonic() - started < 5
    os.read(reader, 65_536)
    assert read_until(reader, b"\n")
    while len(os.read(reader, 65_536)) == 65_536:
        pass
    lines.drain()


def test_closed_pipe_is_not_an_error(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    lines = Lines(stream, dropped)
    other = os.dup(reader)
    for _ in range(1000):
        lines.write(LINE)
    os.close(other)
    os.dup2(os.open(os.devnull, os.O_RDONLY), reader)  # what was kept meets the broken pipe on its thread
    lines.drain()
    lines.write(LINE)


def test_file_has_every_line(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        Lines(stream, dropped).write(LINE * COUNT)
        assert (tmp_path / "log").read_text() == LINE * COUNT


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_full_disk_is_not_an_error() -> None:
    with open("/dev/full", "w") as stream:
        Lines(stream, dropped).write(LINE)


def test_stalled_terminal_does_not_block() -> None:
    """It polls as writable with any free room, and blocks on the rest of a line."""
    controller, terminal = os.openpty()
    with open(terminal, "w") as stream:
        lines = Lines(stream, dropped)
        started = time.monotonic()
        for _ in range(COUNT):
            lines.write(LINE)
        assert time.monotonic() - started < 10
        read = b""
        while not read.endswith(b"dropped\r\n"):
            read += os.read(controller, 65_536)
    os.close(controller)


def test_lines_missing_from_a_full_disk_are_counted_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "w") as stream:
        lines = Lines(stream, dropped)
        lines.write("one\n")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
        try:
            lines.write("two\nthree\n")
            lines.write("four\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        lines.write("five\n")
        lines.write("six\n")
    assert path.read_text() == "one\ntw\n3 dropped\nfive\nsix\n"


def test_stream_without_a_file_descriptor_is_written_to() -> None:
    stream = io.StringIO()
    Lines(stream, dropped).write(LINE)
    assert stream.getvalue() == LINE


def test_closed_stream_is_not_an_error() -> None:
    with tempfile.TemporaryFile("w") as closed:
        pass
    Lines(closed, dropped).write(LINE)
    Lines(None, dropped).write(LINE)
