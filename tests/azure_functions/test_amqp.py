"""AMQP 1.0 values and frames, as the broker's library reads and writes them."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_functions import amqp
from azure_functions.amqp import Described, FrameError
from azure_functions.amqp_sender import encode

proton = pytest.importorskip("proton", reason="no python-qpid-proton: install a C compiler, then `make test`")

TEXTS = st.text(max_size=300)


@given(st.binary(max_size=70_000), TEXTS, st.dictionaries(TEXTS, TEXTS | st.booleans(), max_size=300))
def test_message_is_read_as_it_was_written(body: bytes, name: str, properties: dict[str, str | bool]) -> None:
    message = proton.Message()
    message.decode(encode(body, name, "application/json", properties))
    assert (message.id, message.content_type, message.properties or {}) == (name, "application/json", properties)
    assert bytes(message.body) == body


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | TEXTS
    | st.binary(max_size=300)
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 255).map(proton.ubyte)
    | st.integers(0, 2**16 - 1).map(proton.ushort)
    | st.integers(0, 2**32 - 1).map(proton.uint)
    | st.integers(0, 2**64 - 1).map(proton.ulong)
    | st.integers(-128, 127).map(proton.byte)
    | st.integers(-(2**15), 2**15 - 1).map(proton.short)
    | st.integers(-(2**31), 2**31 - 1).map(proton.int32)
    | st.from_regex("[a-z:.-]{0,300}", fullmatch=True).map(proton.symbol),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=40,
)


@given(st.lists(VALUES, max_size=8))
def test_performative_is_read_as_it_was_written(fields: list[Any]) -> None:
    data = proton.Data()
    data.put_object(proton.Described(proton.ulong(0x13), fields))
    found, payload = amqp.performative(data.encode() + b"payload")
    assert found == Described(0x13, fields)
    assert payload == b"payload"


UNREAD = {
    "float": proton.float32(1.5),
    "double": 2.5,
    "char": proton.char("å"),
    "timestamp": proton.timestamp(7),
    "array": proton.Array(proton.UNDESCRIBED, proton.Data.SYMBOL, "ANONYMOUS", "PLAIN"),
}


@pytest.mark.parametrize("value", UNREAD.values(), ids=UNREAD)
def test_values_of_other_types_are_skipped(value: object) -> None:
    data = proton.Data()
    data.put_object(proton.Described(proton.ulong(0x40), [value, "after"]))
    found, _ = amqp.performative(data.encode())
    assert found.value[1] == "after"


BROKEN = {
    "nothing": b"",
    "no performative": amqp.string("text"),
    "not a list": amqp.described(0x10, amqp.string("text")),
    "unknown type": amqp.described(0x10, b"\x3f"),
    "cut off": amqp.described(0x10, amqp.listed(amqp.string("text")))[:-1],
    "more fields than bytes": amqp.described(0x10, b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40"),
    "too deep": amqp.described(0x10, b"\xc0\x7f\x01" * 40 + b"\x40" * 200),
    "too deeply described": b"\x00" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_not_amqp_is_an_error(content: bytes) -> None:
    with pytest.raises(FrameError):
        amqp.performative(content)
    if content:
        with pytest.raises(FrameError):
            amqp.sections(content + amqp.string("no section"))


def test_nothing_else_is_raised_for_any_bytes() -> None:
    numbers = random.Random(7)
    whole = amqp.described(0x15, amqp.listed(amqp.TRUE, amqp.uint(7), amqp.mapped({"a": "b", "c": True})))
    for _ in range(20_000):
        content = bytearray(numbers.randbytes(numbers.randrange(40)) if numbers.random() < 0.5 else whole)
        for _ in range(numbers.randrange(4)):
            content[numbers.randrange(len(content) or 1) :][:1] = numbers.randbytes(1)
        for read in (amqp.performative, amqp.sections):
            try:
                read(bytes(content))
            except FrameError:
                pass


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_536])
def test_sizes_around_the_short_form(size: int) -> None:
    for written, read in ((amqp.binary(bytes(size)), bytes(size)), (amqp.string("x" * size), "x" * size)):
        found, _ = amqp.performative(amqp.described(0x10, amqp.listed(written)))
        assert found.value == [read]
    count = min(size, 1000)
    found, _ = amqp.performative(amqp.described(0x10, amqp.listed(*[amqp.NULL] * count)))
    assert found.value == [None] * count
