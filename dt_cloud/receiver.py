"""The local receiver as a separate process that the page can stop and start."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

# Longer than the receiver's requests in progress take.
_STOP = 15.0
_START = 15.0
_ROOT = Path(__file__).resolve().parent.parent


class Receiver:
    """A process of ``python -m local``.

    Args:
        environ: The settings.
        url: The URL of the receiver.
        log: The file for its log.
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
        """Start the receiver unless it runs, and return when it listens."""
        async with self._changing:
            if self.is_running:
                return
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dt_cloud.child", "local",
                    # The user's settings are for another receiver.
                    env={**_others(), "PYTHONPATH": str(_ROOT), **self._environ},
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C is for the cloud, which then stops the receiver.
                    start_new_session=True,
                )  # fmt: skip
            await self._wait_until_ready()

    async def _wait_until_ready(self) -> None:
        """Return when the receiver listens, has ended, or is not ready in time."""
        host, _, port = self.url.rpartition("/")[2].partition(":")
        end = asyncio.get_running_loop().time() + _START
        while self.is_running and asyncio.get_running_loop().time() < end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop the receiver as a deployment would: it finishes the requests in progress."""
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
