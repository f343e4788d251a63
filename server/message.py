"""A request while it arrives."""

from core.http import Request
from core.verify.signature import ES256_HEADER, HS256_HEADER

_SIGNATURE_HEADERS = frozenset({HS256_HEADER.encode(), ES256_HEADER.encode()})


class Message:
    """What has arrived of one request.

    Args:
        started: ``time.monotonic()`` when it began.

    Attributes:
        started: As above.
        size: The bytes of its earlier packets.
        url: Its URL, as sent.
        headers: Its headers, with names in lower case.
        request: The request, from the end of its head; its body is set at the end.
        length: Its Content-Length; 0 without one.
        is_encoded: Whether it has a Transfer-Encoding.
        is_last: Whether the connection ends with it.
        expects: Whether its client waits for "100 Continue".
        upgrades: Whether it wishes for another protocol, and is to be parsed again without that wish.
    """

    __slots__ = (
        "_body",
        "expects",
        "headers",
        "is_encoded",
        "is_last",
        "length",
        "request",
        "size",
        "started",
        "upgrades",
        "url",
    )

    def __init__(self, started: float) -> None:
        self.started = started
        self.size = 0
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.request: Request | None = None
        self.length = 0
        self.is_encoded = self.is_last = self.expects = self.upgrades = False
        self._body: bytes | bytearray = b""

    @property
    def head_size(self) -> int:
        """The bytes of its URL and its headers."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    @property
    def has_body(self) -> bool:
        """Whether a body follows its head."""
        return self.length > 0 or self.is_encoded

    def end_head(self, method: str) -> Request:
        """Make the request, and note what its headers say of its body."""
        # ASGI and the core want names in lower case. Only the headers that the core reads are decoded.
        signatures = []
        for name, value in self.headers:
            if name in _SIGNATURE_HEADERS:
                signatures.append((name.decode(), value.decode("latin-1")))
            elif name == b"content-length":
                self.length = int(value.lstrip(b"0")[:18] or b"0")  # digits; with more of them it is too large anyway
            elif name == b"transfer-encoding":
                self.is_encoded = True
            elif name == b"expect":
                self.expects = value.lower() == b"100-continue"
        self.request = Request(method, _path(self.url), signatures, b"")
        return self.request

    def add(self, data: bytes) -> int:
        """Add a part of the body; return the size of all parts."""
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        return len(self._body)

    def end(self) -> Request:
        """Return the request with its body."""
        assert self.request
        self.request.body = bytes(self._body)
        return self.request

    def without_upgrade(self, version: str) -> bytes:
        """Return its head without the wish for another protocol, and forget what was parsed of it.

        The parser takes all that follows such a head for the other protocol. A server may ignore the wish:
        https://www.rfc-editor.org/rfc/rfc9110.html#section-7.8
        """
        assert self.request
        lines = [b"%s %s HTTP/%s" % (self.request.method.encode(), self.url, version.encode())]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.url, self.headers, self.request = b"", [], None
        return b"\r\n".join((*lines, b"", b""))


def _path(url: bytes) -> str:
    if not url.startswith(b"/"):  # a proxy's form
        url = b"/" + url.partition(b"://")[2].partition(b"/")[2]
    return url.partition(b"?")[0].decode("latin-1")
