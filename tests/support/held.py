"""What this process holds: what is left over after a fault shows in it."""

import asyncio
import gc
import os
import threading
import time


def held() -> tuple[int, int]:
    """Return how many threads there are, and how many files and sockets."""
    gc.collect()
    return threading.active_count(), len(os.listdir("/dev/fd"))


async def let_go(before: tuple[int, int], more: int = 0) -> bool:
    """Return whether no more is held than before, or is within 5 s: the other end of a connection has to notice.

    Args:
        before: What was held then.
        more: So many more threads, and as many more files and sockets, are none too many.
    """
    until = time.monotonic() + 5
    while True:
        is_so = all(now <= then + more for now, then in zip(held(), before, strict=True))
        if is_so or time.monotonic() > until:
            return is_so
        await asyncio.sleep(0.05)
