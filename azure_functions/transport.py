"""The HTTP transport of Azure's SDKs: requests, on our connections with a time limit for the whole call."""

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter

from core.service.attempts import CONNECT_TIMEOUT, READ_TIMEOUT
from core.service.transport import POOLS

# The number of threads that infra/main.bicep gives the worker.
_CONNECTIONS = 16


def transport() -> RequestsTransport:
    """Create a client's ``transport``, with its own connections."""
    adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS)
    adapter.poolmanager.pool_classes_by_scheme = POOLS
    session = requests.Session()
    session.trust_env = False  # no proxy, and no look-up of proxies at each call
    for scheme in POOLS:
        session.mount(f"{scheme}://", adapter)
    return RequestsTransport(session=session, connection_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT)
