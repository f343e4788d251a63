"""One event with which a command proves that a receiver takes what a secret signs.

It is like any event of a device, so that it takes the whole path. Its device id is that of an emulator, and its labels
tell it from the events of sensors: `readers.query.is_proof`.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from cli.send import outcome_of
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


def is_taken(answer: Answer) -> bool:
    """Return whether the receiver acknowledged a delivery; some platforms answer 200 by themselves."""
    return answer.status == 200 and outcome_of(answer) != ""


def shown(answer: Answer) -> str:
    """Return an answer in two or three words."""
    return f"{answer.status} {outcome_of(answer)}".strip() if answer.status else answer.reason


def explain(answer: Answer, url: str) -> str:
    """Return why a delivery was not acknowledged, and what to do, as a sentence or two."""
    if answer.status is None:
        return f"{url} gives no answer ({answer.reason}). Is the address right, and is it reached from this machine?"
    if answer.status == 200:
        return f"{url} answers 200, but it is not the receiver that does: is the address right?"
    if answer.status == 401 and outcome_of(answer):
        return (
            f"{url} answers 401: its receiver does not use this secret, or DT_SIGNATURE_POLICY wants another "
            "signature. The reason is in its log."
        )
    if own := _OWN.get(answer.status):
        return f"{url} answers {answer.status}, which is the platform's own answer: {own}"
    if answer.status == 503 and outcome_of(answer):
        return (
            f"{url} answers 503: its receiver cannot store events now, or a setting is wrong. The reason is in its log."
        )
    return (
        f"{url} answers {shown(answer)}, which is the platform's own answer. Is the receiver running? Look at its log."
    )


_OWN: Mapping[int, str] = {
    401: "it wants a login. Is the function public?",
    403: "is the function public?",
    404: "is the address right, and is the receiver deployed?",
    429: "too many requests at once. Try again.",
}
