"""The web dyno: one process of uvicorn, which one core of Python fills before Postgres does."""

import os
import signal
import sys

import uvicorn

from core.asgi import UVICORN
from core.settings import SettingsError
from core.stderr import never_wait
from heroku.app import build_app


def main() -> None:
    """Serve until SIGTERM, then answer what is in flight and stop.

    ``PORT`` is Heroku's to set; ``HOST`` is for running it elsewhere.
    """
    # uvicorn raises SIGTERM once more when it has stopped cleanly: that is the end, and no error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    never_wait()
    try:
        app = build_app(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    uvicorn.run(
        app,
        host=os.environ.get("HOST", "0.0.0.0"),  # noqa: S104 - the router reaches a dyno from outside
        port=int(os.environ.get("PORT", "5000")),
        **UVICORN,
    )


if __name__ == "__main__":
    main()
