"""Deliveries created from a number: cheap to create, sign and recognize, for many deliveries."""

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode

from tests.support.deliveries import SECRET, body

DEVICES = 1000
_DEVICE, _TIME = b"emucdd6ef2eu277bo8f52vg", b"2024-05-29T10:34:03.970415Z"
_EVENT = b"<the event's id>"
_TEMPLATE = body(eventId=_EVENT.decode()).replace(b"%", b"%%")
_TEMPLATE = _TEMPLATE.replace(_DEVICE, b"emu%(device)020x").replace(_TIME, b"2024-05-29T%(time)bZ")
_AT = _TEMPLATE.index(_EVENT)
_TEMPLATE = _TEMPLATE.replace(_EVENT, b"%(number)020x")
_HEADER = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
_CLAIMS = b'{"checksum":"%b","checksum_sha256":"%b","exp":%d,"iat":%d,"jti":"cpbg96t1isjlr2vdorc0"}'
_KEY = hmac.new(SECRET.encode(), digestmod=hashlib.sha256)


def numbered(number: int) -> bytes:
    """Return the body of an event: one of `DEVICES` devices, at a time that grows with the number for an hour."""
    seconds, hundredths = divmod(number, 100)
    minutes, seconds = divmod(seconds, 60)
    return _TEMPLATE % {
        b"number": number,
        b"device": number % DEVICES,
        b"time": b"10:%02d:%02d.%02d0000" % (minutes % 60, seconds, hundredths),
    }


def number_of(content: bytes) -> int | None:
    """Return the number of a body, or None if the body is not the one of its number."""
    try:
        number = int(content[_AT : _AT + 20], 16)
    except ValueError:
        return None
    return number if numbered(number) == content else None


def sign(content: bytes) -> bytes:
    """Return the token that `tests.support.deliveries.hs256` makes, without the cost of PyJWT."""
    now = int(time.time())
    digests = (algorithm(content).hexdigest().encode() for algorithm in (hashlib.sha1, hashlib.sha256))
    signed = _HEADER + b"." + urlsafe_b64encode(_CLAIMS % (*digests, now + 3600, now)).rstrip(b"=")
    keyed = _KEY.copy()
    keyed.update(signed)
    return signed + b"." + urlsafe_b64encode(keyed.digest()).rstrip(b"=")
