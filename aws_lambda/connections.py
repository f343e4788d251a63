"""urllib3, which botocore uses, on the sockets of `core.service.sockets`, so that their time limit applies to it."""

import socket
from typing import NoReturn

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from core.service.sockets import BoundedSocket, BoundedTlsSocket, create_connection


class BoundedConnection(HTTPConnection):
    """A connection for ``http``."""

    def _new_conn(self) -> BoundedSocket:
        try:
            return create_connection(
                (self._dns_host, self.port), self.timeout, self.source_address, self.socket_options or ()
            )
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        # urllib3's own errors, which its pools handle.
        if isinstance(error, socket.gaierror):
            raise NameResolutionError(self.host, self, error) from error
        if isinstance(error, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection in time: {error}") from error
        raise NewConnectionError(self, f"no connection: {error}") from error


class BoundedTlsConnection(BoundedConnection, HTTPSConnection):
    """A connection for ``https``."""

    def connect(self) -> None:
        """Connect with a context whose sockets have the time limit."""
        if self.ssl_context is None:
            self.ssl_context = create_urllib3_context()
        self.ssl_context.sslsocket_class = BoundedTlsSocket
        super().connect()
