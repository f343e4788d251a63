"""Progress of a long command, on standard error, where that is a terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console

_SECONDS = 0.2


class Progress:
    """A line that counts. A context manager.

    Args:
        text: What is counted, with ``{}`` for the number.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._status = Console(stderr=True).status(text.format("0"))
        self._shown = 0.0

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._status.stop()

    def show(self, count: int) -> None:
        """Show how far it is, a few times a second at most."""
        now = time.monotonic()
        if now > self._shown + _SECONDS:
            self._shown = now
            self._status.update(self._text.format(f"{count:,}"))
