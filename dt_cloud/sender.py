"""One POST of one event, as DT Cloud makes it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

# The time that DT Cloud gives an endpoint, in seconds.
TIMEOUT = 10.0
# Less than the 5 s after which many servers close an idle connection, so that no request uses a closing one.
_KEEPALIVE = 2.0
_MAX_ANSWER = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The receiver's answer.

    Attributes:
        status: The HTTP status code; None without an answer.
        reason: Why there is no answer, such as ``ClientConnectorError``; otherwise ``""``.
        seconds: The duration.
        headers: The answer's headers, by lower-case name.
        body: The first 2,000 bytes of its body.
        is_refused: Whether no connection could be made.
        is_timeout: Whether there was no answer within `TIMEOUT`.
    """

    status: int | None
    seconds: float
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    is_refused: bool = False
    is_timeout: bool = False


class Sender:
    """Posts events, without proxies and without following redirects.

    Args:
        user_agent: The User-Agent header.
        concurrency: The maximum number of connections; 0 for no limit.
    """

    def __init__(self, user_agent: str, concurrency: int = 0) -> None:
        self._user_agent = user_agent
        self._concurrency = concurrency
        self._client: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the client session; otherwise the first post does."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._concurrency, keepalive_timeout=_KEEPALIVE),
                headers={"Content-Type": "application/json", "User-Agent": self._user_agent},
                # The deadline is for the whole post; see below.
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post ``body`` and return the answer, within `TIMEOUT`; never raise."""
        await self.open()
        assert self._client is not None
        started = time.perf_counter()
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                text = await response.content.read(_MAX_ANSWER)
                answered = time.perf_counter() - started
                # A connection is reused only if the answer is read completely.
                while await response.content.readany():
                    pass
                return Answer(
                    status=response.status,
                    seconds=answered,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=text,
                )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(
                status=None,
                seconds=time.perf_counter() - started,
                reason="no answer in 10 s" if isinstance(error, TimeoutError) else type(error).__name__,
                is_refused=isinstance(error, aiohttp.ClientConnectorError),
                is_timeout=isinstance(error, TimeoutError),
            )
