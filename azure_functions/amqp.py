"""The part of AMQP 1.0 that a sender needs: values and frames.

https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

NULL, TRUE, FALSE = b"\x40", b"\x41", b"\x42"
# An answer to a sender has few levels; without a limit, a peer could exhaust the stack.
_MAX_DEPTH = 16


class FrameError(ValueError):
    """The peer sent what is not AMQP 1.0, or is too large."""


class Described(NamedTuple):
    """A value with its type: a performative, a section of a message, an outcome.

    Attributes:
        code: The type's number, such as 0x10 for ``open``.
        value: The value: a list for a performative.
    """

    code: int
    value: Any


# To the peer.


def ubyte(number: int) -> bytes:
    """Encode a ubyte, 0 to 255."""
    return bytes((0x50, number))


def uint(number: int) -> bytes:
    """Encode a uint, of 32 bits."""
    return b"\x70" + number.to_bytes(4)


def binary(content: bytes) -> bytes:
    """Encode bytes."""
    return _variable(0xA0, content)


def string(text: str) -> bytes:
    """Encode text, as UTF-8."""
    return _variable(0xA1, text.encode())


def symbol(text: str) -> bytes:
    """Encode a name of the protocol or of the application, in ASCII."""
    return _variable(0xA3, text.encode("ascii"))


def boolean(value: bool) -> bytes:
    """Encode a boolean."""
    return TRUE if value else FALSE


def listed(*fields: bytes) -> bytes:
    """Encode a list of encoded fields."""
    return compound(len(fields), b"".join(fields))


def mapped(values: Mapping[str, str | bool]) -> bytes:
    """Encode a map of texts and booleans."""
    pairs = [
        string(name) + (boolean(value) if isinstance(value, bool) else string(value)) for name, value in values.items()
    ]
    return compound(2 * len(pairs), b"".join(pairs), 0xC1)


def described(code: int, value: bytes) -> bytes:
    """Encode the type of an encoded value."""
    return bytes((0x00, 0x53, code)) + value


def frame(body: bytes, kind: int = 0) -> bytes:
    """Encode a frame of channel 0; of AMQP, or with ``kind`` 1 of SASL."""
    return struct.pack(">IBBH", len(body) + 8, 2, kind, 0) + body


def _variable(code: int, content: bytes) -> bytes:
    size = len(content)
    if size < 256:
        return bytes((code, size)) + content
    return bytes((code | 0x10,)) + size.to_bytes(4) + content


def compound(count: int, content: bytes, code: int = 0xC0) -> bytes:
    """Encode a list of ``count`` fields that are encoded and joined; with ``code`` 0xC1 a map."""
    size = len(content) + 1
    if size < 256:  # so the count is also below 256
        return bytes((code, size, count)) + content
    return struct.pack(">BII", code | 0x10, size + 3, count) + content


# From the peer.


def performative(body: bytes) -> tuple[Described, bytes]:
    """Decode the content of a frame; return the performative and its payload.

    Raises:
        FrameError: It is not AMQP.
    """
    found, end = _decoded(body, 0)
    if not isinstance(found, Described) or type(found.value) is not list:
        raise FrameError("no performative")
    return found, body[end:]


def sections(payload: bytes) -> dict[int, Any]:
    """Decode a message; return the value of each section by the section's number. Errors as above."""
    found, at = {}, 0
    while at < len(payload):
        section, at = _decoded(payload, at)
        if not isinstance(section, Described):
            raise FrameError("no section")
        found[section.code] = section.value
    return found


def _decoded(data: bytes, at: int) -> tuple[Any, int]:
    try:
        return _value(data, at, _MAX_DEPTH)
    except (IndexError, struct.error):
        raise FrameError("cut off") from None


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    code = data[at]
    at += 1
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code == 0x45:
        return [], at
    if code in _NUMBERS:
        read, size = _NUMBERS[code]
        return read(data, at)[0], at + size
    if code == 0x00:
        if not depth:
            raise FrameError("too deep")
        number, at = _value(data, at, depth - 1)
        value, at = _value(data, at, depth - 1)
        # No type has a name alone.
        return Described(number if type(number) is int else -1, value), at
    width = code >> 4
    if width in _FIXED:  # of a type that nothing here reads, as are arrays
        size = _FIXED[width]
    elif width in (0xA, 0xC, 0xE):
        size, at = data[at], at + 1
    elif width in (0xB, 0xD, 0xF):
        size, at = struct.unpack_from(">I", data, at)[0], at + 4
    else:
        raise FrameError("unknown type")
    end = at + size
    if end > len(data):
        raise FrameError("cut off")
    if width in (0xC, 0xD):
        return _items(data[:end], at, code, depth), end
    content = data[at:end]
    return (content.decode("utf-8", "replace") if code & 0xF in (1, 3) and width in (0xA, 0xB) else content), end


def _items(data: bytes, at: int, code: int, depth: int) -> list[Any] | dict[Any, Any]:
    if not depth:
        raise FrameError("too deep")
    if code & 0xF0 == 0xC0:
        count, at = data[at], at + 1
    else:
        count, at = struct.unpack_from(">I", data, at)[0], at + 4
    items = []
    for _ in range(count):
        item, at = _value(data, at, depth - 1)
        items.append(item)
    if code & 0x0F == 0:
        return items
    return {name: value for name, value in zip(items[::2], items[1::2], strict=False) if type(name) is str}


def _number(layout: str) -> tuple[Callable[[bytes, int], tuple[Any, ...]], int]:
    read = struct.Struct(layout)
    return read.unpack_from, read.size


_CONSTANTS = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_NUMBERS = {
    code: _number(layout)
    for layout, codes in {
        ">B": (0x50, 0x52, 0x53),
        ">b": (0x51, 0x54, 0x55),
        ">?": (0x56,),
        ">H": (0x60,),
        ">h": (0x61,),
        ">I": (0x70,),
        ">i": (0x71,),
        ">Q": (0x80,),
        ">q": (0x81,),
    }.items()
    for code in codes
}
_FIXED = {0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
