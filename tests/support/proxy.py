"""A TCP proxy that misbehaves on request, between a store and the real service."""

import asyncio
import threading
from enum import Enum


class Mode(Enum):
    """The proxy's behaviour."""

    PASS = "pass"
    # New and existing connections are closed at once.
    REFUSE = "refuse"
    # Everything is read and nothing is passed on, in either direction.
    SILENT = "silent"
    # The next answer of the service is discarded and its connection closed; then everything passes again.
    LOSE_ANSWER = "lose answer"
    # Each answer of the service is delayed by 3 seconds.
    SLOW = "slow"
    # Each answer of the service arrives at a byte a second.
    DRIP = "drip"
    # Nothing is passed on; `Proxy.canned` is the answer to every request.
    CANNED = "canned"


class Proxy:
    """Passes bytes between a new port and ``port``, both on 127.0.0.1, on a separate thread."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._mode = Mode.PASS
        self.canned = b""
        self._writers: set[asyncio.StreamWriter] = set()
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), daemon=True)
        self._thread.start()
        started.wait()

    def set(self, mode: Mode) -> None:
        """Set the mode from now on."""

        async def change() -> None:
            self._mode = mode
            if mode is Mode.REFUSE:
                for writer in self._writers:
                    writer.close()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result()

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _run(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopped.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.REFUSE:
            writer.close()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the service is down
            writer.close()
            return
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(
                self._pump(reader, there_writer, writer, is_answer=False),
                self._pump(there_reader, writer, writer, is_answer=True),
            )
        finally:
            self._writers -= {writer, there_writer}
            # A transport with unsent bytes, for a frozen service, would stay open after `close`.
            writer.transport.abort()
            there_writer.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        *,
        is_answer: bool,
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if self._mode is Mode.LOSE_ANSWER and is_answer:
                    self._mode = Mode.PASS
                    break
                if self._mode is Mode.SLOW and is_answer:
                    await asyncio.sleep(3)
                if self._mode is Mode.DRIP and is_answer:
                    await self._drip(data, writer)
                elif self._mode is Mode.CANNED:
                    client.write(self.canned)
                elif self._mode is not Mode.SILENT:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def _drip(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in data:
            if writer.is_closing():
                return
            writer.write(bytes([byte]))
            await asyncio.sleep(1)
