"""How Azure's SDKs make their calls: by requests, on connections of ours, which keep to one bound for a whole call."""

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter

from core.service.attempts import CONNECT_TIMEOUT, READ_TIMEOUT
from core.service.transport import POOLS

# As many threads as infra/main.bicep gives the worker.
_CONNECTIONS = 16


def transport() -> RequestsTransport:
    """Make what a client takes as its ``transport``, with connections of its own."""
    adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS)
    adapter.poolmanager.pool_classes_by_scheme = POOLS
    session = requests.Session()
    session.trust_env = False  # no proxy in between, and no look for one at each call
    for scheme in POOLS:
        session.mount(f"{scheme}://", adapter)
    return RequestsTransport(session=session, connection_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT)
