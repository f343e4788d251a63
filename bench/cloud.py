"""DT Cloud on your desk with the local receiver: deliveries per second, and over a simulated week."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import ROOT, CannotMeasure, Options
from bench.report import Section, number
from bench.rounds import median

_SENSORS, _SPEED = 1_000, 280.0
_WEEK_SENSORS, _WEEK = 100, 7 * 86_400.0
_TIMES = 10
_START, _WARM_UP, _POLL = 20.0, 5.0, 1.0
# A week at a factor of 500 is 20 minutes: enough for any machine that can run this at all.
_MOST = 1_800.0
_HEADER = ("What", "published/s", "delivered/s", "most waiting", "frame p50 ms", "frame p99 ms", "CPU us/event", "MiB")


@dataclass(slots=True)
class _Demo:
    process: "subprocess.Popen[bytes]"
    url: str
    gaps: list[float] = field(default_factory=list)

    def ask(self, path: str, given: dict[str, Any] | None = None) -> Any:
        data = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read())

    def watch(self) -> None:
        """Read the page's frames, as a browser does, and note the time between them."""
        last = None
        with suppress(OSError, ValueError), urllib.request.urlopen(f"{self.url}/desk/frames") as frames:
            for line in frames:
                if line.startswith(b"data:"):
                    now = time.perf_counter()
                    if last is not None:
                        self.gaps.append((now - last) * 1e3)
                    last = now

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def measure(options: Options) -> Section:
    """Measure for ten times ``options.seconds``, and then for a simulated week.

    Raises:
        CannotMeasure: The demo does not start, or this is not Linux.
    """
    if not Path("/proc/self/stat").exists():
        raise CannotMeasure("CPU time and memory are read from /proc, which is Linux's.")
    with _demo(_SENSORS, _SPEED) as demo:
        row, totals = _sustained(demo, options.seconds * _TIMES)
    with _demo(_WEEK_SENSORS, 1.0) as demo:
        week, factor = _week(demo)
    return Section(
        "DT Cloud on your desk, with the local receiver beside it",
        _HEADER,
        [row, *week],
        (
            f"Each event carries both signatures, and the receiver verifies both. At the end: {totals}.",
            f"The week ran {number(factor, 0)} times as fast as real time, which --speed auto chose.",
            "CPU and memory are the cloud's alone. Frames are read by one client; the page asks for five a second.",
        ),
    )


def _sustained(demo: _Demo, seconds: float) -> tuple[list[str], str]:
    time.sleep(_WARM_UP)
    threading.Thread(target=demo.watch, daemon=True).start()
    before, cpu, started, most = demo.ask("/ledger"), demo.cpu(), time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        time.sleep(_POLL)
        most = max(most, demo.ask("/ledger")["waiting"])
    after, cpu = demo.ask("/ledger"), demo.cpu() - cpu
    delivered = after["delivered"] - before["delivered"]
    gaps = sorted(demo.gaps)
    row = [
        f"{_SENSORS:,} sensors, {passed:.0f} s",
        number((after["published"] - before["published"]) / passed, 0),
        number(delivered / passed, 0),
        number(most, 0),
        number(median(gaps), 0),
        number(gaps[int(len(gaps) * 0.99)], 0),
        number(cpu / delivered * 1e6, 0),
        number(demo.memory(), 0),
    ]
    demo.ask("/desk/clock", {"speed": 1})
    for _ in range(20):
        time.sleep(_POLL)
        after = demo.ask("/ledger")
        if not after["waiting"] and not after["store"]["missing"]:
            break
    store = after["store"]
    totals = ", ".join(
        f"{name} {after[name]:,}" for name in ("published", "delivered", "waiting", "expired", "dropped")
    )
    return row, f"{totals}; stored {store['stored']:,}, twice {store['storedTwice']}, missing {store['missing']}"


def _week(demo: _Demo) -> tuple[list[list[str]], float]:
    demo.ask("/desk/clock", {"speed": "auto"})
    started, rows, first = time.perf_counter(), [], _cloud_time(demo)
    for day in (1, 2, 4, 7):
        while (now := _cloud_time(demo)) - first < day / 7 * _WEEK and time.perf_counter() - started < _MOST:
            time.sleep(_POLL)
        rows.append([f"{_WEEK_SENSORS} sensors, after day {day}", *[""] * 6, number(demo.memory(), 1)])
    return rows, (now - first) / (time.perf_counter() - started)


def _cloud_time(demo: _Demo) -> float:
    return datetime.fromisoformat(demo.ask("/desk/frame")["clock"]["now"]).timestamp()


@contextmanager
def _demo(sensors: int, speed: float) -> Iterator[_Demo]:
    with tempfile.TemporaryDirectory() as folder:
        ports = [_free_port(), _free_port()]
        process = subprocess.Popen(
            [
                sys.executable, "-m", "dt_cloud.demo", "--sensors", str(sensors), "--speed", str(speed),
                "--port", str(ports[0]), "--receiver-port", str(ports[1]),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        demo = _Demo(process, f"http://127.0.0.1:{ports[0]}")
        try:
            end = time.monotonic() + _START
            while True:
                try:
                    if demo.ask("/ledger")["delivered"]:
                        break
                except OSError:
                    pass
                if process.poll() is not None or time.monotonic() > end:
                    raise CannotMeasure("`make demo` delivers nothing here.")
                time.sleep(0.1)
            yield demo
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
