"""The web dyno: one process of uvicorn, which one core of Python fills before Postgres does."""

import os
import signal
import sys

import uvicorn

from core.settings import SettingsError
from heroku.app import build_app


def main() -> None:
    """Serve until SIGTERM, then answer what is in flight and stop.

    ``PORT`` is Heroku's to set; ``HOST`` is for running it elsewhere.
    """
    # uvicorn raises SIGTERM once more when it has stopped cleanly: that is the end, and no error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        app = build_app(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    uvicorn.run(
        app,
        host=os.environ.get("HOST", "0.0.0.0"),  # noqa: S104 - the router reaches a dyno from outside
        port=int(os.environ.get("PORT", "5000")),
        # Each is work per request that nothing here reads: the log has its own line, the router its own headers.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        ws="none",
        # With "auto", a database that may lose events would be taken for an application without a start.
        lifespan="on",
        log_level="warning",
        # Heroku kills 30 s after SIGTERM: https://devcenter.heroku.com/articles/dyno-shutdown-behavior
        timeout_graceful_shutdown=20,
        # The router keeps its connections to a dyno for 90 s; closing first would cost it a 503 now and then.
        timeout_keep_alive=95,
    )


if __name__ == "__main__":
    main()
