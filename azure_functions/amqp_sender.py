"""A sender over one AMQP 1.0 connection to Service Bus, for any number of concurrent messages.

What the broker expects: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide
Why not the SDK: docs/decisions/0040-our-own-sender.md.
"""

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from azure_functions import amqp
from azure_functions.amqp import FALSE, NULL, TRUE, Described, FrameError

# The performatives, the outcomes and the sections of a message, by their numbers.
_OPEN, _BEGIN, _ATTACH, _FLOW, _TRANSFER, _DISPOSITION, _DETACH, _END, _CLOSE = range(0x10, 0x19)
_ACCEPTED = 0x24
_OUTCOMES = {_ACCEPTED: "accepted", 0x25: "rejected", 0x26: "released", 0x27: "modified"}
_SOURCE, _TARGET = 0x28, 0x29
_PROPERTIES, _APPLICATION, _DATA, _VALUE = 0x73, 0x74, 0x75, 0x77
_SASL_MECHANISMS, _SASL_INIT, _SASL_OUTCOME = 0x40, 0x41, 0x44
_SASL_HEADER, _AMQP_HEADER = b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"
# What is fixed of our side: one session, in it a link that sends tokens, one that gets the answers, and the queue's.
_TOKENS, _ANSWERS, _QUEUE = range(3)
_CBS = "$cbs"
_FORMAT = amqp.uint(0)
# What `Sender.open` waits for.
_STEPS = {_SASL_MECHANISMS, _SASL_OUTCOME, _OPEN, _BEGIN}
# The last fields of a performative may be missing.
_NO_FIELDS = [None] * 14
_TOO_LARGE = "amqp:link:message-size-exceeded"
# Bytes. Service Bus has 64 KiB, and the answers to a sender are below 1 KiB.
_MAX_FRAME = 65_536
# The fields of a transfer, with numbers of full width.
_TRANSFER_HEAD = 64
_WINDOW = 65_536
_SERIALS = 1 << 32
_CONDITION = re.compile("[A-Za-z0-9:._-]{1,60}").fullmatch


class SendError(Exception):
    """A message was not accepted. ``str()`` is the broker's condition, or another short cause without its text.

    Attributes:
        is_of_connection: An open connection failed, with all messages that waited; none was refused itself.
    """

    def __init__(self, cause: str, is_of_connection: bool = False) -> None:
        super().__init__(cause)
        self.is_of_connection = is_of_connection


class Sender(asyncio.Protocol):
    """One connection, which `open` prepares, and its link to a queue.

    After an error it is closed and not used again: every message that waits fails with it.

    Attributes:
        is_open: Whether it can send.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._error: SendError | None = None
        self._is_retired = False
        self._transport: asyncio.Transport
        self._buffer = b""
        # Set by each change while `open` waits.
        self._changed = asyncio.Event()
        self._seen: set[int] = set()
        self._status: int | None = None
        # Our links that the broker has attached, by its numbers; and which of them it has given credit.
        self._names = {f"{uuid4()}": link for link in (_TOKENS, _ANSWERS, _QUEUE)}
        self._links: dict[int, int] = {}
        self._credited: set[int] = set()
        self._max_frame = 512
        self._max_message = math.inf
        # Frames of the session, and messages of the queue's link: what was sent, and the first number that may not be.
        self._frames = self._frames_end = 0
        self._messages = self._messages_end = 0
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._unsettled: dict[int, asyncio.Future[None]] = {}

    # For the store.

    async def open(self, host: str, audience: str, token: str, kind: str, address: str) -> None:
        """Log in, and attach to a queue, on the connection that asyncio has made.

        Args:
            host: The namespace's host name.
            audience: What the token is for.
            token: A token.
            kind: Its type.
            address: The queue.

        Raises:
            SendError: The broker refused, or the connection failed.
        """
        self._transport.write(_SASL_HEADER)
        await self._until(lambda: _SASL_MECHANISMS in self._seen)
        # The login is the token, below.
        self._write(_SASL_INIT, amqp.symbol("ANONYMOUS"), amqp.binary(b""), amqp.string(host), kind=1)
        await self._until(lambda: _SASL_OUTCOME in self._seen)
        self._transport.write(_AMQP_HEADER)
        self._write(_OPEN, amqp.string(f"{uuid4()}"), amqp.string(host), amqp.uint(_MAX_FRAME))
        await self._until(lambda: _OPEN in self._seen)
        self._write(_BEGIN, NULL, amqp.uint(0), amqp.uint(_WINDOW), amqp.uint(_WINDOW), amqp.uint(_QUEUE))
        await self._until(lambda: _BEGIN in self._seen)
        tokens, answers, queue = self._names
        self._attach(tokens, _TOKENS, is_receiver=False, source=_CBS, target=_CBS)
        self._attach(answers, _ANSWERS, is_receiver=True, source=_CBS, target=_CBS)
        await self._until(lambda: _TOKENS in self._credited and _ANSWERS in self._links.values())
        windows = (amqp.uint(0), amqp.uint(_WINDOW), amqp.uint(0), amqp.uint(_WINDOW))
        self._write(_FLOW, *windows, amqp.uint(_ANSWERS), amqp.uint(0), amqp.uint(1))
        put = {"operation": "put-token", "type": kind, "name": audience}
        self._transfer(_TOKENS, 0, _message(amqp.described(_VALUE, amqp.string(token)), "token", None, put))
        await self._until(lambda: self._status is not None)
        if self._status not in (200, 202):
            raise SendError(f"token refused: {self._status}")
        self._attach(queue, _QUEUE, is_receiver=False, source=f"sender-{queue}", target=address)
        await self._until(lambda: _QUEUE in self._credited)
        self.is_open = True

    def send(self, message: bytes) -> "asyncio.Future[None]":
        """Send a message; return what is done when the broker has accepted it, or fails with a `SendError`."""
        accepted = asyncio.get_running_loop().create_future()
        if self._error is not None:
            accepted.set_exception(self._error)
        elif len(message) > self._max_message:
            accepted.set_exception(SendError(_TOO_LARGE))
        else:
            self._waiting.append((message, accepted))
            self._send_waiting()
        return accepted

    def retire(self) -> None:
        """Close it as soon as no message waits for an answer."""
        self.is_open = False
        self._is_retired = True
        self._close_if_retired()

    def close(self) -> None:
        """Close it at once."""
        if self._error is None:
            self._write(_CLOSE)
            self._fail("closed")

    # For asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; see `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it was lost is chance
        """Fail what waits; see `asyncio.Protocol`."""
        self._fail("ConnectionClosed")

    def data_received(self, data: bytes) -> None:
        """Read all complete frames; see `asyncio.Protocol`."""
        data = self._buffer + data
        at = 0
        try:
            while len(data) - at >= 8 and self._error is None:
                if data.startswith(b"AMQP", at):
                    size = 8
                    if data[at : at + 8] not in (_SASL_HEADER, _AMQP_HEADER):
                        raise FrameError("another protocol")
                else:
                    size, start = int.from_bytes(data[at : at + 4]), 4 * data[at + 4]
                    if not 8 <= start <= size <= _MAX_FRAME:
                        raise FrameError("no frame")
                    if len(data) - at < size:
                        break
                    if start < size:  # otherwise a sign of life
                        self._read(*amqp.performative(data[at + start : at + size]))
                at += size
        except FrameError:
            self._fail("FrameError")
        self._buffer = data[at:]
        self._changed.set()

    # The protocol.

    def _read(self, found: Described, payload: bytes) -> None:
        code, fields = found
        fields = [*fields, *_NO_FIELDS]
        if code == _DISPOSITION:
            self._settle(fields)
        elif code == _FLOW:
            self._allow(fields)
        elif code == _TRANSFER:
            properties = amqp.sections(payload).get(_APPLICATION)
            self._status = _number(properties.get("status-code")) if isinstance(properties, dict) else 0
        elif code in (_DETACH, _END, _CLOSE):
            self._fail(_condition(fields[2 if code == _DETACH else 0]))
        elif code == _ATTACH:
            link = self._names.pop(fields[0], None) if isinstance(fields[0], str) else None
            if link is not None:
                self._links[_number(fields[1])] = link
            if link == _QUEUE:
                self._max_message = _number(fields[10]) or math.inf
        elif code == _SASL_OUTCOME and fields[0] != 0:
            self._fail("SASL refused")
        elif code == _OPEN:
            self._max_frame = min(max(_number(fields[2], _MAX_FRAME), 512), _MAX_FRAME)
        elif code == _BEGIN:
            self._frames_end = _number(fields[2])
        if code in _STEPS:
            self._seen.add(code)

    def _allow(self, fields: list[Any]) -> None:
        """Take over how much the broker takes."""
        self._frames_end = (_number(fields[0]) + _number(fields[1])) % _SERIALS
        link = self._links.get(_number(fields[4], -1))
        if link is not None and _number(fields[6]):
            self._credited.add(link)
        if link == _QUEUE:
            self._messages_end = (_number(fields[5]) + _number(fields[6])) % _SERIALS
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting:
            message, accepted = self._waiting[0]
            if not accepted.done():
                frames = -(-len(message) // (self._max_frame - _TRANSFER_HEAD))
                if _ahead(self._messages_end, self._messages) < 1 or _ahead(self._frames_end, self._frames) < frames:
                    return
                # The token was the first delivery of the session.
                self._messages = (self._messages + 1) % _SERIALS
                self._unsettled[self._messages] = accepted
                self._transfer(_QUEUE, self._messages, message)
            self._waiting.popleft()

    def _transfer(self, link: int, delivery: int, message: bytes) -> None:
        """Send a message, in as many frames as it needs."""
        head = amqp.uint(link) + amqp.uint(delivery) + amqp.binary(delivery.to_bytes(4)) + _FORMAT + FALSE
        room = self._max_frame - _TRANSFER_HEAD
        for at in range(0, len(message), room):
            more = amqp.boolean(at + room < len(message))
            body = amqp.described(_TRANSFER, amqp.compound(6, head + more))
            self._transport.write(amqp.frame(body + message[at : at + room]))
            self._frames = (self._frames + 1) % _SERIALS

    def _settle(self, fields: list[Any]) -> None:
        """Take over what the broker has done with messages."""
        is_of_receiver, first, last, is_settled, outcome = fields[:5]
        if is_of_receiver is not True or not isinstance(outcome, Described) or outcome.code not in _OUTCOMES:
            return
        first = _number(first)
        last = _number(last, first)
        span = _ahead(last, first)
        found = [first] if span == 0 else [it for it in self._unsettled if 0 <= _ahead(it, first) <= span]
        for delivery in found:
            accepted = self._unsettled.pop(delivery, None)
            if accepted is None or accepted.done():
                continue
            if outcome.code == _ACCEPTED:
                accepted.set_result(None)
            else:
                error = outcome.value[:1] if type(outcome.value) is list else None
                accepted.set_exception(SendError(_condition(error and error[0], _OUTCOMES[outcome.code])))
        if not is_settled:
            state = amqp.described(outcome.code, amqp.listed())
            self._write(_DISPOSITION, FALSE, amqp.uint(first), amqp.uint(last), TRUE, state)
        self._close_if_retired()

    def _attach(self, name: str, link: int, *, is_receiver: bool, source: str, target: str) -> None:
        self._write(
            _ATTACH,
            amqp.string(name),
            amqp.uint(link),
            amqp.boolean(is_receiver),
            amqp.ubyte(0),  # the sender does not settle first
            amqp.ubyte(0),  # the receiver settles when it is done
            amqp.described(_SOURCE, amqp.listed(amqp.string(source))),
            amqp.described(_TARGET, amqp.listed(amqp.string(target))),
            NULL,
            NULL,
            NULL if is_receiver else amqp.uint(0),
        )

    def _write(self, code: int, *fields: bytes, kind: int = 0) -> None:
        self._transport.write(amqp.frame(amqp.described(code, amqp.listed(*fields)), kind))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    def _close_if_retired(self) -> None:
        if self._is_retired and all(accepted.done() for accepted in self._everybody()):
            self.close()

    def _everybody(self) -> list["asyncio.Future[None]"]:
        return [*self._unsettled.values(), *(accepted for _, accepted in self._waiting)]

    def _fail(self, cause: str) -> None:
        """Close the connection; the first cause is everybody's."""
        if self._error is not None:
            return
        self._error = error = SendError(cause, self.is_open or self._is_retired)
        self.is_open = False
        self._transport.abort()
        self._changed.set()
        for accepted in self._everybody():
            if not accepted.done():
                accepted.set_exception(error)
        self._unsettled.clear()
        self._waiting.clear()


def encode(
    body: bytes, message_id: str, content_type: str | None = None, properties: Mapping[str, str | bool] | None = None
) -> bytes:
    """Encode a message: its id, its content type, the application's properties, and a body of bytes."""
    return _message(amqp.described(_DATA, amqp.binary(body)), message_id, content_type, properties or {})


def _message(body: bytes, message_id: str, content_type: str | None, properties: Mapping[str, str | bool]) -> bytes:
    fields = [amqp.string(message_id)]
    if content_type:
        fields += [NULL] * 5
        fields.append(amqp.symbol(content_type))
    return (
        amqp.described(_PROPERTIES, amqp.listed(*fields)) + amqp.described(_APPLICATION, amqp.mapped(properties)) + body
    )


def _number(value: object, default: int = 0) -> int:
    return value if type(value) is int and 0 <= value < _SERIALS else default


def _ahead(serial: int, of: int) -> int:
    """Return the distance of two serial numbers, which start again after 32 bits."""
    return (serial - of + _SERIALS // 2) % _SERIALS - _SERIALS // 2


def _condition(error: object, default: str = "no condition") -> str:
    """Return an error's condition; no other part of it may be logged."""
    if isinstance(error, Described) and type(error.value) is list and error.value:
        condition = error.value[0]
        if type(condition) is str and _CONDITION(condition):
            return condition
    return default
