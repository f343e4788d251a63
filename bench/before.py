"""The local receiver beside that of an earlier commit: CPU per event, and the start."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT, CannotMeasure, Options
from bench.load import TooFewRequests, wrk
from bench.report import Section, number
from bench.requests import RequestFile
from bench.rounds import RATIOS, median, paired_ratio
from tests.support.deliveries import SECRET

_HEADER = ("What, connections", "x before", "CPU us per event", "x before", "start ms", "events/s", "not 2xx")
_CONNECTIONS = 32
_REQUESTS_PER_SECOND = 12_000
_MOST = 20.0


@dataclass(frozen=True, slots=True)
class _Figures:
    cpu: float
    start: float
    rate: float
    refused: int


def measure(options: Options) -> Section:
    """Measure both for ``options.rounds`` rounds.

    Raises:
        CannotMeasure: wrk or the commit is missing, or a receiver does not start.
    """
    command = shutil.which("wrk")
    if not command or not Path("/proc/self/stat").exists():
        raise CannotMeasure("It needs Linux, and wrk: on Debian, apt-get install wrk.")
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        requests = RequestFile(folder / "requests")
        requests.grow(_REQUESTS_PER_SECOND * options.seconds)
        with _checked_out(options.before, folder / "before") as before:
            trees, figures = {"before": before, "now": ROOT}, dict[str, list[_Figures]](before=[], now=[])
            for index in range(options.rounds):
                for which in random.sample(list(trees), len(trees)):
                    one = _measured(trees[which], folder, command, requests, options.seconds)
                    figures[which].append(one)
                    print(
                        f"before: round {index + 1} of {options.rounds}: {which}, {one.cpu:.1f} us of CPU an event",
                        file=sys.stderr,
                    )
    rows = []
    for which, own in figures.items():
        base = figures["before"]
        rows.append(
            [
                f"{which}, {_CONNECTIONS}",
                number(paired_ratio([one.cpu for one in own], [one.cpu for one in base]), 3),
                number(median(one.cpu for one in own), 1),
                number(paired_ratio([one.start for one in own], [one.start for one in base]), 3),
                number(median(one.start * 1e3 for one in own), 0),
                number(median(one.rate for one in own), 0),
                number(sum(one.refused for one in own), 0),
            ]
        )
    return Section(
        f"The local receiver beside that of {options.before}",
        _HEADER,
        rows,
        (f"{RATIOS} Both are fresh processes, in turns. CPU is the whole process's, uvicorn's included.",),
    )


def _measured(tree: Path, folder: Path, command: str, requests: RequestFile, seconds: int) -> _Figures:
    with tempfile.TemporaryDirectory(dir=folder) as data, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environ = os.environ | {
            "PYTHONPATH": str(tree),
            "PORT": str(port),
            "DT_DATABASE": f"{data}/events.db",
            "DT_SIGNATURE_SECRET": SECRET,
        }
        started = time.perf_counter()
        quiet = subprocess.DEVNULL
        process = subprocess.Popen([sys.executable, "-m", "local"], cwd=data, env=environ, stdout=quiet, stderr=quiet)
        try:
            start = _wait(port, process) - started
            before = _cpu_seconds(process.pid)
            load = wrk(command, requests, port, _CONNECTIONS, seconds)
            cpu = _cpu_seconds(process.pid) - before
        except TooFewRequests:
            raise CannotMeasure("It is faster than foreseen: measure for fewer --seconds.") from None
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_MOST)
    return _Figures(cpu / max(load.confirmed, 1) * 1e6, start, load.rate, load.refused)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> float:
    """Return when the receiver answered first."""
    end = time.perf_counter() + _MOST
    while time.perf_counter() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1):
                return time.perf_counter()
        except OSError:
            time.sleep(0.002)
    raise CannotMeasure("A receiver does not start.")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Check out a commit beside the repository, and forget it at the end."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(folder), commit],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise CannotMeasure(f"There is no commit {commit} in this clone: name one by --before.")
    try:
        yield folder
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(folder)], check=False)
