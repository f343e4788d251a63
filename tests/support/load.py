"""Senders that do what DT Cloud does: send again whatever was not answered 200."""

import http.client
import threading
import time
from collections import deque

from tests.support.deliveries import fresh_body, signed


class Load:
    """Sends fresh events from several threads to one port until it is told to stop.

    Attributes:
        sent: The bodies that were sent at least once.
        acknowledged: Those that were answered 200.
        refused: How many answers were another status.
    """

    def __init__(self, port: int, threads: int = 8) -> None:
        self.port = port
        self.sent: set[bytes] = set()
        self.acknowledged: set[bytes] = set()
        self.refused = 0
        self._count = threads
        self._again: deque[tuple[bytes, dict[str, str]]] = deque()
        self._stopping = threading.Event()
        self._finishing = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, or go on: first with what was not acknowledged, then with fresh events."""
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._run) for _ in range(self._count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending; what is on its way is still answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def finish(self) -> None:
        """Send what was never acknowledged until it is, and nothing fresh."""
        self._finishing = True
        self.start()
        deadline = time.monotonic() + 60
        while self._again and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop()
        assert self.sent == self.acknowledged

    def _next(self) -> tuple[bytes, dict[str, str]] | None:
        try:
            return self._again.popleft()
        except IndexError:
            if self._finishing:
                return None
            content = fresh_body()
            self.sent.add(content)
            return content, signed(content)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        while not self._stopping.is_set() and (event := self._next()):
            content, headers = event
            try:
                connection.request("POST", "/", content, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self._again.append(event)
                time.sleep(0.005)
                continue
            if answer.status == 200:
                self.acknowledged.add(content)
            else:
                self.refused += 1
                self._again.append(event)
                time.sleep(0.01)
        connection.close()
