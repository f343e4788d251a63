"""A store in memory."""

import asyncio
import time
from collections.abc import Sequence

from core.event import Event
from core.stores.contract import Outcome
from core.stores.grouped import GroupedStore


class Memory:
    """A store for a moment. ``error`` is raised instead of storing."""

    def __init__(self, error: BaseException | None = None, note: str | None = None) -> None:
        self.events: dict[str, Event] = {}
        self.deadlines: list[float] = []
        self._error = error
        self._note = note

    def put(self, event: Event, deadline: float) -> Outcome:
        self.deadlines.append(deadline - time.monotonic())
        if self._error:
            raise self._error
        if event.key in self.events:
            return Outcome.DUPLICATE
        self.events[event.key] = event
        return Outcome.STORED.noting(self._note)


class AsyncMemory:
    """The same, for an event loop."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.steps: list[str] = []

    async def open(self) -> None:
        self.steps.append("open")

    async def close(self) -> None:
        self.steps.append("close")

    async def put(self, event: Event, deadline: float) -> Outcome:
        await asyncio.sleep(0)
        return self._memory.put(event, deadline)


class GroupedMemory(GroupedStore):
    """The same, which groups."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self._memory = memory

    async def write(self, events: Sequence[Event], deadline: float) -> list[Outcome | None]:
        await asyncio.sleep(0)
        return [self._memory.put(event, deadline) for event in events]
