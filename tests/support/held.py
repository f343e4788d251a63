"""Threads, files and sockets of this process, to find leaks after a fault."""

import asyncio
import gc
import os
import threading
import time


def held() -> tuple[int, int]:
    """Return the number of threads, and of open files and sockets."""
    gc.collect()
    return threading.active_count(), len(os.listdir("/dev/fd"))


async def let_go(before: tuple[int, int], more: int = 0) -> bool:
    """Return whether the numbers are back within 5 s, which the other end of a connection needs to notice.

    Args:
        before: The numbers to return to.
        more: The number of additional threads, files and sockets to allow.
    """
    until = time.monotonic() + 5
    while True:
        is_so = all(now <= then + more for now, then in zip(held(), before, strict=True))
        if is_so or time.monotonic() > until:
            return is_so
        await asyncio.sleep(0.05)
