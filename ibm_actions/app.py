"""``python -m ibm_actions.app``: the application of Code Engine, one process of uvicorn in a container."""

import os
import signal
import sys
from collections.abc import Mapping

import uvicorn

from core.asgi import UVICORN, App, Threaded
from core.receiver import AsyncReceiver
from core.settings import Settings, SettingsError
from core.stderr import never_wait
from ibm_actions.environment import build_store
from ibm_actions.rest import CONNECTIONS


def build_app(environ: Mapping[str, str]) -> App:
    """Build the application.

    Raises:
        core.settings.SettingsError: The environment cannot be used.
    """
    store = Threaded(build_store(environ), CONNECTIONS)
    return App(AsyncReceiver(Settings.load(environ), store), on_shutdown=store.close)


def main() -> None:
    """Serve until SIGTERM, then answer what is in flight and stop. ``PORT`` is Code Engine's to set.

    With an environment that cannot be used it ends at once, and Code Engine keeps the revision before this one.
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
        host=os.environ.get("HOST", "0.0.0.0"),  # noqa: S104 - the platform's proxy reaches a container from outside
        port=int(os.environ.get("PORT", "8080")),
        **UVICORN,
    )


if __name__ == "__main__":
    main()
