"""The minimum cost of a commit, to compare rates of commits between machines."""

import os
import tempfile
import time

from bench.rounds import median

_PAGE = b"\0" * 8192
_TIMES = 200


def microseconds_per_sync() -> float:
    """Return the median time to write and sync 8 KiB, in the folder of temporary files."""
    # As PostgreSQL chooses: https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-WAL-SYNC-METHOD
    sync = getattr(os, "fdatasync", os.fsync)
    times = []
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(_PAGE)
        os.fsync(file.fileno())
        for _ in range(_TIMES):
            started = time.perf_counter()
            os.pwrite(file.fileno(), _PAGE, 0)
            sync(file.fileno())
            times.append(time.perf_counter() - started)
    return median(times) * 1e6
