"""One event with which a command proves that a receiver takes what a secret signs.

It is like any event of a device, so that it takes the whole path. Its device id is that of an emulator, and its labels
tell it from the events of sensors: `readers.query.is_proof`.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from core.event import parse_stored
from dt_cloud.bodies import Device
from dt_cloud.ids import fixed_xid, xid
from dt_cloud.loop import run
from dt_cloud.sender import Answer, Sender
from dt_cloud.signing import Signer
from readers.query import PROOF

# Always the same emulator, so that a store gets one device for all proofs.
_DEVICE = f"emu{fixed_xid('dtconn proof')}"
# It has no measured value, so no average and no alarm is wrong because of it.
_EVENT_TYPE = "touch"


class Proof:
    """An event, to be delivered as often as needed: the receiver stores it once.

    Args:
        url: The receiver.
        project_id: The project that it is of, since a receiver may take only its own; a new one by default.
        headers: The Data Connector's own headers.

    Attributes:
        event: The event, as the receiver parses it.
    """

    def __init__(self, url: str, project_id: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._headers = headers or {}
        now = datetime.now(UTC)
        self._body = Device(_DEVICE, project_id or xid(now.timestamp()), labels=PROOF).body(_EVENT_TYPE, now)
        self.event = parse_stored(self._body, now)

    def deliver(self, secret: str | bytes | None) -> Answer:
        """Deliver it, signed with ``secret``, or without a signature; never raise."""
        return run(self._deliver(secret.encode() if isinstance(secret, str) else secret))

    async def _deliver(self, secret: bytes | None) -> Answer:
        sender = Sender("dtconn")
        try:
            signed = Signer(secret=secret).headers(self._body, time.time())
            return await sender.post(self._url, self._body, {**self._headers, **signed})
        finally:
            await sender.close()
            # aiohttp closes TLS connections in the next turns of the loop.
            await asyncio.sleep(0.05)
