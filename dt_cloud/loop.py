"""The cloud's event loop, uvloop's if it is installed; and its background tasks."""

import asyncio
import importlib
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# Seconds until a failed write is repeated.
_AGAIN = 1.0


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` as `asyncio.run` does."""
    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ImportError:  # on Windows
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def keep_running(run: Callable[[], Awaitable[None]]) -> None:
    """Run a task that writes to the database, and restart it after a failed write, for example on a full disk."""
    while True:
        try:
            await run()
        except sqlite3.Error as error:
            print(f"The cloud's database cannot be written: {error}. It is tried again.", file=sys.stderr, flush=True)
            await asyncio.sleep(_AGAIN)
        else:
            return
