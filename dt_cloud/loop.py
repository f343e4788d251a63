"""The event loop of what sends: uvloop's, where there is one."""

import asyncio
import importlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` as `asyncio.run` does."""
    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ImportError:  # on Windows
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
