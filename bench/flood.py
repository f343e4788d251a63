"""The local receiver under floods without a signature: how long deliveries take beside them, and its memory."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bench import CannotMeasure, Options
from bench.report import Section, number
from tests.support.deliveries import SECRET
from tests.support.flood import ATTACKS, flood, most_megabytes
from tests.support.processes import running

_HEADER = ("Flood, connections", "deliveries", "p50 ms", "p99 ms", "most MiB")


def measure(options: Options) -> Section:  # noqa: ARG001 - each flood has its own size
    """Measure each flood once.

    Raises:
        CannotMeasure: This is not Linux.
    """
    if not Path("/proc/self/status").exists():
        raise CannotMeasure("It needs Linux, for the memory of a process.")
    rows = []
    for name, (attack, connections) in ATTACKS.items():
        print(f"flood: {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": os.path.join(folder, "events.db")}
            with running("local", environ, Path(folder)) as program:
                seconds = asyncio.run(flood(program, attack, connections))
                memory = most_megabytes(program)
        p50, p99 = (number(seconds[int(len(seconds) * part)] * 1e3, 1) for part in (0.5, 0.99))
        rows.append([f"{name}, {connections:,}", number(len(seconds), 0), p50, p99, number(memory, 0)])
    return Section(
        "The local receiver under floods without a signature",
        _HEADER,
        rows,
        ("Each flood begins within 3 s, and lasts until the receiver has closed its connections.",),
    )
