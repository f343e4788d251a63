"""Asks the endpoint of a Data Connector by requests of our own."""

import secrets

from cli.answers import Said, understood
from cli.connectors.values import Connector


def ask_signed(connector: Connector, secret: str) -> Said:
    """Post a proof event signed with ``secret``, which the receiver stores if the secret is its own."""
    return _asked(connector, secret.encode())


def ask_forged(connector: Connector) -> Said:
    """Post a proof event signed with a secret that no receiver has."""
    return _asked(connector, secrets.token_bytes(32))


def ask_unsigned(connector: Connector) -> Said:
    """Post a proof event without signature, which a receiver refuses: nothing is stored."""
    return _asked(connector, None)


def _asked(connector: Connector, secret: bytes | None) -> Said:
    # Imported here, because its libraries take longer than the rest of dtconn.
    from cli.proof import Proof

    return understood(Proof(connector.url, connector.project_id, connector.headers).deliver(secret))
