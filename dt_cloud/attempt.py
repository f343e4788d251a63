"""One attempt to deliver one event: signed, with the requested faults, and posted."""

import asyncio
import json
import secrets
from dataclasses import dataclass, field, replace

from dt_cloud.choices import Choices
from dt_cloud.connectors import Connector
from dt_cloud.faults import DELIVER_TWICE, EXPIRED_TOKEN, LOSE_ANSWER, SLOW, UNREACHABLE, WRONG_SECRET, Faults
from dt_cloud.sender import Answer, Sender
from dt_cloud.signing import Es256Key, Signer

SLOW_SECONDS = 3.0


@dataclass(slots=True)
class Delivery:
    """One event for one connector.

    Attributes:
        id: Its number.
        event: The event's number in the history.
        connector_id: The connector.
        device_id: The event's device.
        event_id: The event's id.
        event_type: The event's type.
        body: The body of the request.
        published: When it was queued.
        attempts: The number of attempts so far.
        signature: The first attempt's headers, if later attempts repeat them.
    """

    id: int
    event: int
    connector_id: str
    device_id: str
    event_id: str
    event_type: str
    body: bytes = field(repr=False)
    published: float
    attempts: int
    signature: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request and its outcome.

    Attributes:
        delivery: The delivery.
        state: The new state of the delivery: ``waiting``, or one of the ledger's.
        due: The time of the next attempt, if waiting.
        started: When it began, on the cloud's clock.
        sent: The same in real time.
        answer: The receiver's answer.
        note: Why there is no answer, or the fault that was injected.
        headers: The headers as sent.
    """

    delivery: Delivery
    state: str
    due: float
    started: float
    sent: float
    answer: Answer
    note: str
    headers: dict[str, str] = field(repr=False)


class Courier:
    """Signs and posts events.

    Args:
        choices: Decide which answers acknowledge, and whether each attempt is signed again.
        faults: The requested faults.
        key: Signs DT-Asymmetric-Signature.
        issuer: The issuer of that signature.
        organization: The organization id in that signature.
    """

    def __init__(self, choices: Choices, faults: Faults, key: Es256Key | None, issuer: str, organization: str) -> None:
        self._choices = choices
        self._faults = faults
        self._key = key
        self._issuer = issuer
        self._organization = organization
        self._sender = Sender("DT-Cloud-on-your-desk")

    async def close(self) -> None:
        """Close all connections."""
        await self._sender.close()

    async def post(self, connector: Connector, delivery: Delivery, now: float) -> tuple[Answer, str, dict[str, str]]:
        """Make one attempt, signed at ``now`` in real time.

        Returns:
            The answer; the reason if there is no answer, and the injected faults; the headers as sent.
        """
        notes: list[str] = []
        headers = self._headers(connector, delivery, now, notes)
        if is_slow := self._faults.take(SLOW):
            notes.append(SLOW)
            await asyncio.sleep(SLOW_SECONDS)
        if delivery.connector_id in self._faults.unreachable or self._faults.take(UNREACHABLE):
            notes.append(UNREACHABLE)
            answer = Answer(status=None, seconds=0.0, reason="not reached")
        elif self._faults.take(DELIVER_TWICE):
            notes.append(DELIVER_TWICE)
            answer, _ = await asyncio.gather(
                self._sender.post(connector.url, delivery.body, headers),
                self._sender.post(connector.url, delivery.body, headers),
            )
        else:
            answer = await self._sender.post(connector.url, delivery.body, headers)
        if is_slow:
            answer = replace(answer, seconds=answer.seconds + SLOW_SECONDS)
        if self._choices.is_success(answer.status) and self._faults.take(LOSE_ANSWER):
            notes.append(LOSE_ANSWER)
            answer = Answer(status=None, seconds=answer.seconds, reason="answer lost")
        note = ", ".join(filter(None, [answer.reason, *(f"fault: {each}" for each in notes)]))
        return answer, note, headers

    def _headers(self, connector: Connector, delivery: Delivery, now: float, notes: list[str]) -> dict[str, str]:
        if delivery.signature is not None:
            return {**connector.headers, **json.loads(delivery.signature)}
        secret: bytes | None = connector.secret.encode() or None
        if is_wrong := self._faults.take(WRONG_SECRET):
            notes.append(WRONG_SECRET)
            secret = secrets.token_bytes(32)
        if is_expired := self._faults.take(EXPIRED_TOKEN):
            notes.append(EXPIRED_TOKEN)
        signer = Signer(
            secret=secret,
            # Otherwise the delivery would be accepted because of its valid asymmetric signature.
            key=None if is_wrong else self._key,
            organization=self._organization,
            issuer=self._issuer,
            expired=is_expired,
        )
        signature = signer.headers(delivery.body, now)
        if self._choices.signs == "once":
            delivery.signature = json.dumps(signature)
        return {**connector.headers, **signature}
