"""Runs one uvicorn process in a container, behind a platform's router."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from core.receiver import AsyncReceiver, AsyncUnconfiguredReceiver
from core.stderr import never_wait
from server.asgi import App, Page
from server.protocol import Protocol

UVICORN: dict[str, Any] = {
    # It has no access log, no WebSockets and no headers of uvicorn's; nor does it read those of a router.
    "http": Protocol,
    "ws": "none",
    # Otherwise uvicorn reads WEB_CONCURRENCY, which Heroku's buildpack sets, and does not start if it is above 1:
    # https://devcenter.heroku.com/articles/python-concurrency
    "workers": 1,
    "proxy_headers": False,
    # With "auto", uvicorn would ignore a failed start, such as a database that may lose events.
    "lifespan": "on",
    "log_level": "warning",
    # `core.stderr` writes uvicorn's messages.
    "log_config": None,
    # Heroku kills 30 s after SIGTERM: https://devcenter.heroku.com/articles/dyno-shutdown-behavior
    "timeout_graceful_shutdown": 20,
}


def prepare() -> None:
    """Set the process up: a clean exit at SIGTERM, and a standard error that never blocks."""
    # uvicorn raises SIGTERM once more when it has stopped cleanly: that is the end, and no error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    never_wait()


def serve(build_receiver: Callable[[Mapping[str, str]], AsyncReceiver | AsyncUnconfiguredReceiver], port: int) -> None:
    """Serve until SIGTERM, then answer what is in flight and stop.

    ``PORT`` and ``HOST`` say where. If the environment cannot be used, the process ends at once with the reason, and
    the platform keeps the release before this one.

    Args:
        build_receiver: An adapter's.
        port: The default of ``PORT``.
    """
    prepare()
    uvicorn.run(
        build_app(build_receiver(os.environ)),
        host=os.environ.get("HOST", "0.0.0.0"),  # noqa: S104 - the router reaches a container from outside
        port=int(os.environ.get("PORT") or port),
        **UVICORN,
    )


def build_app(receiver: AsyncReceiver | AsyncUnconfiguredReceiver, page: Page | None = None) -> App:
    """Return the application, with a page if there is one, or end the process with the faults of its settings."""
    if isinstance(receiver, AsyncUnconfiguredReceiver):
        sys.exit(str(receiver.error))
    return App(receiver, page)
