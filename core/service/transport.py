"""urllib3 on the sockets of `core.service.sockets`, so that every client built on it keeps their bound.

For the adapters, whose packages have urllib3; nothing else of core imports it.
"""

import socket
from typing import NoReturn

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from core.service.attempts import CONNECT_TIMEOUT, READ_TIMEOUT
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
        # urllib3's own errors, which its pools know, and whatever is above them.
        if isinstance(error, socket.gaierror):
            raise NameResolutionError(self.host, self, error) from error
        if isinstance(error, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection in time: {error}") from error
        raise NewConnectionError(self, f"no connection: {error}") from error


class BoundedTlsConnection(BoundedConnection, HTTPSConnection):
    """A connection for ``https``."""

    def connect(self) -> None:
        """Connect, by a context whose sockets keep to the bound."""
        if self.ssl_context is None:
            self.ssl_context = create_urllib3_context()
        self.ssl_context.sslsocket_class = BoundedTlsSocket
        super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = BoundedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = BoundedTlsConnection


# For the `pool_classes_by_scheme` of any of urllib3's pool managers.
POOLS = {"http": _Pool, "https": _TlsPool}


def pool_manager(connections: int, ca_certs: str) -> PoolManager:
    """Make a pool manager with the time-outs of `core.service.attempts`, and no retries of its own.

    Args:
        connections: How many are kept for each host.
        ca_certs: The file of whom to trust.
    """
    manager = PoolManager(
        maxsize=connections,
        timeout=Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
        retries=False,
        ca_certs=ca_certs,
    )
    manager.pool_classes_by_scheme = POOLS
    return manager
