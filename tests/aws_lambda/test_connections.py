"""urllib3 with one timeout for a whole call: slow peers time out; all else works as before."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError, SSLError

from aws_lambda.connections import BoundedConnection, BoundedTlsConnection
from core.service.sockets import bounded
from tests.support.certificates import certificate, serving
from tests.support.loopback import Drops, Loopback, Reply, in_turn, loopback, success


class Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = BoundedConnection


class TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = BoundedTlsConnection


POOLS = {"http": Pool, "https": TlsPool}


def pool_manager(ca_certs: str | None = None) -> urllib3.PoolManager:
    """Create what a client would."""
    manager = urllib3.PoolManager(retries=False, timeout=5, ca_certs=ca_certs)
    manager.pool_classes_by_scheme = POOLS
    return manager


@contextmanager
def server(folder: Path, scheme: str, *replies: Reply) -> Iterator[tuple[Loopback, urllib3.PoolManager]]:
    """Give a server that answers so, and connection pools that trust it."""
    path, tls = serving(folder)
    with loopback(in_turn(*replies), tls if scheme == "https" else None) as running:
        pools = pool_manager(str(path))
        yield running, pools
        pools.clear()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connection_is_reused(scheme: str, tmp_path: Path) -> None:
    with server(tmp_path, scheme, success(a="b")) as (running, pools):
        for _ in range(3):
            with bounded(5):
                assert pools.urlopen("POST", running.url, body=b"{}").json() == {"a": "b"}
        assert running.connections == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_slow_body_times_out_and_its_connection_is_closed(scheme: str, tmp_path: Path) -> None:
    with server(tmp_path, scheme, Reply(200, Drops(b"x" * 60)), success()) as (running, pools):
        started, threads = time.monotonic(), threading.active_count()
        with pytest.raises(HTTPError), bounded(0.3):
            pools.urlopen("POST", running.url, body=b"{}")
        assert 0.25 < time.monotonic() - started < 3
        assert threading.active_count() <= threads + 1  # the server's
        with bounded(5):
            assert pools.urlopen("POST", running.url, body=b"{}").json() == {}
        assert running.connections == 2


def test_pools_with_their_own_tls_context_keep_the_deadline(tmp_path: Path) -> None:
    """botocore's pools have one."""
    with server(tmp_path, "https", Reply(200, Drops(b"x" * 60))) as (running, _):
        context = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
        with urllib3.PoolManager(ssl_context=context, retries=False) as pools:
            pools.pool_classes_by_scheme = POOLS
            started = time.monotonic()
            with pytest.raises(HTTPError), bounded(0.3):
                pools.urlopen("POST", running.url, body=b"{}")
        assert time.monotonic() - started < 3


def test_untrusted_certificate_is_sent_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(certificate()[0])
    with server(tmp_path, "https", success()) as (running, _):
        with pytest.raises(SSLError):
            pool_manager(str(other)).urlopen("GET", running.url)
        assert running.calls == []


@pytest.mark.parametrize(
    ("url", "seconds", "error"),
    [
        ("http://127.0.0.1:9", 5, NewConnectionError),
        ("http://a..b", 5, NameResolutionError),
        ("https://127.0.0.1:9", 0, ConnectTimeoutError),
    ],
)
def test_connect_error_is_that_of_urllib3(url: str, seconds: float, error: type[Exception]) -> None:
    with pytest.raises(error), bounded(seconds):
        pool_manager().urlopen("GET", url)
