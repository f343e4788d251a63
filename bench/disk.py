"""What a commit costs at least: without it no rate of commits can be compared with another machine's."""

import os
import tempfile
import time

from bench.rounds import median

_PAGE = b"\0" * 8192
_TIMES = 200


def microseconds_per_sync() -> float:
    """Return the median time to write 8 KiB and have it on disk, where temporary files are."""
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
