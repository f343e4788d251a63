"""The local receiver as a process beside the cloud, which the page can stop and start."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

# Longer than what a receiver has in flight takes.
_STOP = 15.0
_START = 15.0
_ROOT = Path(__file__).resolve().parent.parent


class Receiver:
    """A process of ``python -m local``.

    Args:
        environ: Its settings.
        url: Where it listens.
        log: The file that gets its log.
    """

    def __init__(self, environ: Mapping[str, str], url: str, log: Path) -> None:
        self._environ = environ
        self._log = log
        self.url = url
        self._process: asyncio.subprocess.Process | None = None
        self._changing = asyncio.Lock()

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, unless it runs, and return once it listens."""
        async with self._changing:
            if self.is_running:
                return
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dt_cloud.child", "local",
                    # The settings of a receiver of the user's own are not this one's.
                    env={**_others(), "PYTHONPATH": str(_ROOT), **self._environ},
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C reaches the cloud, which stops it in order.
                    start_new_session=True,
                )  # fmt: skip
            await self._wait_until_ready()

    async def _wait_until_ready(self) -> None:
        """Return once it listens, or has ended, or does not get ready."""
        host, _, port = self.url.rpartition("/")[2].partition(":")
        end = asyncio.get_running_loop().time() + _START
        while self.is_running and asyncio.get_running_loop().time() < end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop it as a deployment would: it answers what is in flight, and ends."""
        async with self._changing:
            process = self._process
            if process is None or process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _STOP)
            except TimeoutError:
                process.kill()
                await process.wait()

    def document(self) -> dict[str, object]:
        """Return its state."""
        return {"isRunning": self.is_running, "url": self.url}


def _others() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DT_")}
