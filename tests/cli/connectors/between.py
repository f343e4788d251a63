"""A server between dtconn and another, which changes its answers."""

import threading
import time
from typing import Any

from tests.support.loopback import SILENT, Call, Reply
from tests.support.processes import Requesting


class Between:
    """Passes requests on, and changes answers on the way.

    Args:
        target: Where requests go.
    """

    def __init__(self, target: Requesting) -> None:
        self._target = target
        self.requests: list[tuple[str, str]] = []
        # By method and last part of the path; "*" for any.
        self.change: dict[tuple[str, str], list[Any]] = {}
        self.is_held = threading.Event()

    def __call__(self, call: Call) -> Reply | None:
        place = call.method, call.path.partition("?")[0].rpartition("/")[2]
        self.requests.append(place)
        waiting = self.change.get(place) or self.change.get((call.method, "*")) or []
        what = waiting.pop(0) if waiting else None
        left_out = ("host", "connection", "content-length", "accept-encoding")
        headers = {name: value for name, value in call.headers.items() if name not in left_out}
        answer = self._target.request(call.method, call.path, headers, call.body)
        if isinstance(what, float):
            time.sleep(what)
        if what == "lost":
            return None
        if what == "held":
            self.is_held.set()
            return SILENT
        kept = ("retry-after", "event-outcome")
        return Reply(
            answer.status, answer.body, {name: answer.headers[name] for name in kept if name in answer.headers}
        )
