"""The AMQP sender beside the SDK's, and with brokers that do what the tests' own does not."""

import asyncio
import random
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from azure_functions import amqp
from azure_functions.amqp import FALSE, NULL, TRUE
from azure_functions.amqp_sender import Sender, SendError, encode
from azure_functions.namespace import namespace
from tests.support.service_bus import service_bus

AMPLE = 30
PROPERTIES: dict[Any, str | bool] = {"key": "k", "eventType": "å", "parsed": True}


# What both send.


@contextmanager
def recording(port: int) -> Iterator[tuple[int, bytearray]]:
    """Pass on one connection; yield the port, and what the client sends."""
    sent = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pass_on(source: socket.socket, target: socket.socket, copy: bytearray) -> None:
            try:
                while data := source.recv(65_536):
                    copy += data
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve() -> None:
            client, _ = server.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as broker:
                back = threading.Thread(target=pass_on, args=(broker, client, bytearray()))
                back.start()
                pass_on(client, broker, sent)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], sent
        thread.join(AMPLE)
        assert not thread.is_alive()


def frames(sent: bytes) -> list[tuple[int, list[Any], bytes]]:
    """Return the performatives, without missing fields at the end, and their payloads."""
    found, at = [], 0
    while at < len(sent):
        if sent.startswith(b"AMQP", at):
            found.append((-1, [sent[at + 4]], b""))
            at += 8
            continue
        size = int.from_bytes(sent[at : at + 4])
        (code, fields), payload = amqp.performative(sent[at + 8 : at + size])
        found.append((code, trimmed(fields), payload))
        at += size
    return found


def trimmed(fields: list[Any]) -> list[Any]:
    while fields and fields[-1] is None:
        fields = fields[:-1]
    return fields


def address(field: amqp.Described) -> str:
    """Return an address, without the port, which the SDK has in it."""
    return re.sub(r":\d+/", "/", str(field.value[0]))


def essence(sent: bytes) -> list[Any]:
    """Return what matters to a broker, without numbers and names that the client chooses."""
    found: list[Any] = []
    links: dict[int, str] = {}
    for code, fields, payload in frames(sent):
        if code == 0x10:
            found.append(("open", fields[1]))
        elif code == 0x12:
            source, target = address(fields[5]), address(fields[6])
            links[fields[1]] = target
            # The SDK asks the receiver to settle second; the broker settles first in any case.
            found.append(("attach", fields[2], fields[3], source.partition("-link")[0].partition("-")[0], target))
        elif code == 0x14:
            sections = amqp.sections(payload)
            properties = trimmed(sections.pop(0x73))
            (application,) = (sections.pop(0x74),)
            application.pop("expiration", None)
            if links[fields[0]] == "$cbs":
                application.pop("type")
                sections, properties = {code: len(value) > 50 for code, value in sections.items()}, []
                assert isinstance(application.pop("name"), str)
            found.append(("transfer", links[fields[0]], fields[3:6], properties, application, sections))
        elif code in (-1, 0x41):
            found.append((code, fields[:1]))
    # The SDK pipelines, so only the order of each kind is the same.
    return sorted(found, key=repr)


def test_sender_sends_what_the_sdk_sends(tmp_path: Path) -> None:
    with service_bus(tmp_path, "events") as bus:

        def string(port: int) -> str:
            return bus.connection_string.replace(str(bus.port), str(port))

        message = ServiceBusMessage(
            b"{}", message_id="one", content_type="application/json", application_properties={**PROPERTIES}
        )
        with (
            recording(bus.port) as (port, theirs),
            ServiceBusClient.from_connection_string(string(port), retry_total=0) as client,
            client.get_queue_sender("events", keep_alive=0) as sdk,
        ):
            sdk.send_messages(message, timeout=AMPLE)

        async def send() -> None:
            sender, _ = await namespace(string(port), "events", None).open()
            async with asyncio.timeout(AMPLE):
                await sender.send(encode(b"{}", "two", "application/json", PROPERTIES))
            sender.close()
            await asyncio.sleep(0)

        with recording(bus.port) as (port, ours):
            asyncio.run(send())
        assert essence(bytes(ours).replace(b"two", b"one")) == essence(bytes(theirs))
        first, second = bus.messages()
        assert {**second, "messageId": "one"} == first


# A broker of the test's.


def frame(code: int, *fields: bytes, payload: bytes = b"", kind: int = 0) -> bytes:
    return amqp.frame(amqp.described(code, amqp.listed(*fields)) + payload, kind)


def ready(window: int = 5000, credit: int = 100, frame_size: int = 65_536, status: int = 202) -> bytes:
    """Return all that a broker says until the link is open."""
    answer = amqp.described(0x74, b"\xc1\x14\x02\xa1\x0bstatus-code\x71" + status.to_bytes(4))
    answer = answer[:4] + bytes((len(answer) - 5,)) + answer[5:]
    return b"".join(
        (
            b"AMQP\x03\x01\x00\x00",
            frame(0x40, amqp.symbol("ANONYMOUS"), kind=1),
            frame(0x44, amqp.ubyte(0), kind=1),
            b"AMQP\x00\x01\x00\x00",
            frame(0x10, amqp.string("broker"), NULL, amqp.uint(frame_size)),
            frame(0x11, b"\x60\x00\x00", amqp.uint(0), amqp.uint(window), amqp.uint(window)),
            frame(0x14, amqp.uint(9), amqp.uint(0), amqp.binary(b"1"), amqp.uint(0), payload=answer),
        )
    )


class Wire(asyncio.Transport):
    """Keeps what is sent, and attaches links under other numbers than ours."""

    def __init__(self, sender: Sender, window: int, credit: int) -> None:
        super().__init__()
        self._sender, self._window, self._credit = sender, window, credit
        self.is_closed = False
        self.sent: list[tuple[int, list[Any], bytes]] = []

    def write(self, data: Any) -> None:
        for code, fields, payload in frames(bytes(data)):
            self.sent.append((code, fields, payload))
            if code == 0x12:
                number = amqp.uint(fields[1] + 40)
                role = amqp.boolean(not fields[2])
                ends = [amqp.ubyte(0), amqp.ubyte(0), NULL, NULL, NULL, NULL, amqp.uint(0), amqp.uint(250_000)]
                self._say(frame(0x12, amqp.string(fields[0]), number, role, *ends))
                if not fields[2]:
                    self.allow(fields[1], 0, self._credit, 0, self._window)

    def allow(self, link: int, count: int, credit: int, next_id: int, window: int) -> None:
        numbers = (next_id, window, 0, 5000, link + 40, count, credit)
        self._say(frame(0x13, *map(amqp.uint, numbers)))

    def _say(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._sender.data_received, data)

    def abort(self) -> None:
        self.is_closed = True

    def transfers(self) -> list[tuple[int, bytes]]:
        return [(fields[1], payload) for code, fields, payload in self.sent if code == 0x14][1:]


async def opened(window: int = 5000, credit: int = 100, frame_size: int = 65_536) -> tuple[Sender, Wire]:
    sender = Sender()
    wire = Wire(sender, window, credit)
    sender.connection_made(wire)
    asyncio.get_running_loop().call_later(0.01, sender.data_received, ready(window, credit, frame_size))
    async with asyncio.timeout(AMPLE):
        await sender.open("host", "sb://host/events", "t", "jwt", "amqps://host/events")
    return sender, wire


def settled(
    first: int, last: int | None = None, outcome: int = 0x24, is_settled: bytes = TRUE, role: bytes = TRUE
) -> bytes:
    state = amqp.described(outcome, amqp.listed())
    return frame(0x15, role, amqp.uint(first), NULL if last is None else amqp.uint(last), is_settled, state)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_only_accepted_is_stored() -> None:
    async def work() -> None:
        sender, wire = await opened()
        answers = [sender.send(b"m") for _ in range(7)]
        assert [delivery for delivery, _ in wire.transfers()] == [1, 2, 3, 4, 5, 6, 7]
        for data in (settled(2, role=FALSE), settled(1, outcome=0x23), settled(99), frame(0x15, TRUE, amqp.uint(3))):
            sender.data_received(data)
        assert not any(answer.done() for answer in answers)
        no_list = amqp.described(0x25, amqp.mapped({"a": "b"}))
        sender.data_received(
            settled(2, 3) + frame(0x15, TRUE, amqp.uint(4), NULL, TRUE, no_list) + settled(5, outcome=0x26)
        )
        sender.data_received(settled(6, outcome=0x27))
        found = [answer.done() and (answer.exception() or "accepted") for answer in answers]
        assert list(map(str, found)) == ["False", "accepted", "accepted", "rejected", "released", "modified", "False"]
        sender.connection_lost(None)
        assert [str(answer.exception()) for answer in (answers[0], answers[6])] == ["ConnectionClosed"] * 2

    run(work)


def test_broker_that_settles_second_is_answered() -> None:
    async def work() -> None:
        sender, wire = await opened()
        answer = sender.send(b"m")
        sender.data_received(settled(1, is_settled=FALSE))
        await answer
        code, fields, _ = wire.sent[-1]
        assert (code, fields[:4]) == (0x15, [False, 1, 1, True])
        assert fields[4].code == 0x24

    run(work)


@pytest.mark.parametrize(("window", "credit"), [(5000, 3), (4, 100)])
def test_no_more_is_sent_than_the_broker_allows(window: int, credit: int) -> None:
    """The window is that of the session, whose first frame was the token; the credit is the link's."""

    async def work() -> None:
        sender, wire = await opened(window, credit)
        answers = [sender.send(b"m") for _ in range(10)]
        assert len(wire.transfers()) == 3
        answers[5].cancel()
        wire.allow(2, 3, 4, 4, 4)
        await asyncio.sleep(0)
        # The one that nobody waits for is not sent.
        assert [delivery for delivery, _ in wire.transfers()] == [1, 2, 3, 4, 5, 6, 7]
        sender.data_received(settled(1, 7))
        done = [answer.done() for answer in answers]
        assert done == [True] * 8 + [False] * 2
        sender.close()

    run(work)


def test_large_message_is_split_into_frames() -> None:
    async def work() -> None:
        sender, wire = await opened(frame_size=1000)
        message = random.Random(7).randbytes(5000)
        sender.send(message)
        transfers = [(fields, payload) for code, fields, payload in wire.sent if code == 0x14][1:]
        assert b"".join(payload for _, payload in transfers) == message
        assert [fields[5] for fields, _ in transfers] == [True] * (len(transfers) - 1) + [False]
        assert {fields[1] for fields, _ in transfers} == {1}
        assert all(len(payload) + 64 <= 1000 for _, payload in transfers)
        # The link says how large a message may be: the connection survives one that is larger.
        with pytest.raises(SendError, match=r"^amqp:link:message-size-exceeded$"):
            await sender.send(bytes(250_001))
        assert sender.is_open

    run(work)


def test_answers_arrive_in_any_pieces() -> None:
    async def work() -> None:
        sender, _ = await opened()
        answers = [sender.send(b"m") for _ in range(3)]
        sign_of_life = b"\x00\x00\x00\x08\x02\x00\x00\x00"
        for byte in sign_of_life + settled(1) + settled(2, 3):
            sender.data_received(bytes((byte,)))
        assert await asyncio.gather(*answers) == [None] * 3

    run(work)


REFUSALS = {
    "not AMQP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "FrameError"),
    "another version": (b"AMQP\x00\x00\x09\x01", "FrameError"),
    "a frame that is too large": (b"\x00\x01\x00\x01\x02\x00\x00\x00", "FrameError"),
    "a frame that is too small": (b"\x00\x00\x00\x07\x02\x00\x00\x00", "FrameError"),
    "no login": (frame(0x44, amqp.ubyte(1), kind=1), "SASL refused"),
    "an end without a condition": (frame(0x17), "no condition"),
    "a condition": (
        frame(0x18, amqp.described(0x1D, amqp.listed(amqp.symbol("amqp:x"), amqp.string("se=cret")))),
        "amqp:x",
    ),
    "a condition that is a text": (
        frame(0x18, amqp.described(0x1D, amqp.listed(amqp.symbol("a secret")))),
        "no condition",
    ),
}


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(("data", "cause"), REFUSALS.values(), ids=REFUSALS)
def test_connection_that_fails_is_closed(data: bytes, cause: str, is_open: bool) -> None:
    async def work() -> None:
        if is_open:
            sender, wire = await opened()
            answers = [sender.send(b"m"), sender.send(b"m")]
        else:
            sender = Sender()
            wire = Wire(sender, 5000, 100)
            sender.connection_made(wire)
            answers = [asyncio.ensure_future(sender.open("host", "audience", "t", "jwt", "address"))]
            await asyncio.sleep(0)
        sender.data_received(data)
        for answer in [*answers, *([sender.send(b"m")] if is_open else [])]:
            with pytest.raises(SendError) as caught:
                await answer
            assert str(caught.value) == cause
            assert caught.value.is_of_connection is is_open
        assert wire.is_closed
        assert not sender.is_open

    run(work)


def test_retired_connection_is_closed_with_its_last_answer() -> None:
    async def work() -> None:
        sender, wire = await opened()
        first, second, third = (sender.send(b"m") for _ in range(3))
        first.cancel()
        sender.retire()
        sender.data_received(settled(2))
        await second
        assert not wire.is_closed
        third.cancel()
        sender.retire()
        assert wire.is_closed

    run(work)


def test_no_bytes_make_it_raise() -> None:
    async def work() -> None:
        numbers = random.Random(7)
        heard = ready() + settled(1) + frame(0x16, amqp.uint(1))
        for _ in range(2000):
            sender = Sender()
            sender.connection_made(Wire(sender, 5000, 100))
            data = bytearray(heard)
            for _ in range(numbers.randrange(1, 6)):
                data[numbers.randrange(len(data))] = numbers.randrange(256)
            sender.data_received(bytes(data))
            sender.close()

    run(work)
