"""Proves an endpoint with signed requests of our own."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from dt_cloud.events import delivery_body, event_document, metadata
from dt_cloud.ids import fixed_xid, xid
from dt_cloud.loop import run
from dt_cloud.sender import Answer, Sender
from dt_cloud.signing import Signer
from readers.query import PROOF

# Always the same emulator, so that a store gets one device for all proofs.
_DEVICE = f"emu{fixed_xid('dtconn proof')}"


def proof_body(project_id: str) -> bytes:
    """Return the body of a new touch of the emulator, which `readers.query.is_proof` recognises."""
    now = datetime.now(UTC)
    data = {"touch": {"updateTime": now.isoformat().replace("+00:00", "Z")}}
    event = event_document(xid(now.timestamp()), project_id, _DEVICE, "touch", data, now)
    return delivery_body(event, PROOF, metadata(project_id, _DEVICE, "touch", ""))


def prove(url: str, secret: bytes | None, project_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Post a proof event as DT Cloud does, and return the endpoint's answer.

    Args:
        url: The endpoint.
        secret: Signs it; None for no signature.
        project_id: The project that it is of, since a receiver may take only its own.
        headers: The connector's own headers.
    """
    body = proof_body(project_id)
    signed = Signer(secret=secret).headers(body, time.time())

    async def post() -> Answer:
        sender = Sender("dtconn")
        try:
            return await sender.post(url, body, {**(headers or {}), **signed})
        finally:
            await sender.close()
            # aiohttp closes TLS connections in the next turns of the loop.
            await asyncio.sleep(0.05)

    return run(post())
