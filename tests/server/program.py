"""``python -m tests.server.program``: an adapter whose store forgets every event."""

import os

from core.assembly import build_async
from core.environment import Environment
from core.event import Event
from core.stores.contract import Outcome
from server.serve import serve


class Forgetful:
    """Prints when it is opened and closed."""

    async def open(self) -> None:
        """Open nothing."""
        os.write(1, b"opened\n")

    async def close(self) -> None:
        """Close nothing."""
        os.write(1, b"closed\n")

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Store nothing."""
        return Outcome.STORED


def build_store(environment: Environment) -> Forgetful:
    """Build the store."""
    environment.required("DT_TABLE", "the table")
    environment.check()
    return Forgetful()


if __name__ == "__main__":
    serve(lambda environ: build_async(environ, build_store), int(os.environ["DEFAULT_PORT"]))
