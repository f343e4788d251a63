"""The Service Bus namespace: its address, and the tokens for it."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote_plus, urlsplit

from azure_functions.amqp_sender import Sender
from azure_functions.connection_string import parse
from azure_functions.identity import managed_identity

_AMQPS, _AMQP = 5671, 5672
# Seconds for which our own tokens are valid.
_LIFETIME = 3600
_SCOPE = "https://servicebus.azure.net//.default"


@dataclass(frozen=True)
class Namespace:
    """Where to connect, how to log in, and the queue.

    Attributes:
        host: The host name, which the certificate has.
        port: The port.
        queue: The name of the queue.
        kind: The type of the tokens.
        token: Returns a token for an audience, and the end of its validity in seconds since 1970.
        tls: The context of TLS; None: no TLS, as Microsoft's emulator wants it.
    """

    host: str
    port: int
    queue: str
    kind: str
    token: Callable[[str], Awaitable[tuple[str, float]]]
    tls: Callable[[], ssl.SSLContext] | None

    async def open(self) -> tuple[Sender, float]:
        """Connect, log in, and attach to the queue; return the sender, and when its token expires.

        Raises:
            azure_functions.amqp_sender.SendError: The broker refused.
            Exception: There is no connection, or no token.
        """
        audience = f"sb://{self.host}/{self.queue}"
        token, expires_on = await self.token(audience)
        tls = self.tls() if self.tls else None
        _, sender = await asyncio.get_running_loop().create_connection(
            Sender, self.host, self.port, ssl=tls, server_hostname=self.host if tls else None
        )
        try:
            await sender.open(self.host, audience, token, self.kind, f"amqps://{self.host}/{self.queue}")
        except BaseException:
            sender.close()
            raise
        return sender, expires_on


def namespace(address: str, queue: str, client_id: str | None) -> Namespace:
    """Return the namespace of an address.

    Args:
        address: Its host name, used with the function's identity; or a connection string.
        queue: The name of the queue.
        client_id: As in `azure_functions.identity.managed_identity`.

    Raises:
        ValueError: The connection string is invalid, or of another queue.
    """
    if "=" in address:
        return _by_connection_string(address, queue)
    identity = managed_identity(client_id)

    async def token(_audience: str) -> tuple[str, float]:
        found = await asyncio.to_thread(identity.get_token, _SCOPE)
        return found.token, found.expires_on

    return Namespace(address, _AMQPS, queue, "jwt", token, trusted)


@cache
def trusted() -> ssl.SSLContext:
    """Return the context with the system's certificates, which take longer to read than a handshake takes."""
    return ssl.create_default_context()


def _by_connection_string(text: str, queue: str) -> Namespace:
    values = parse(text)
    endpoint = values.get("endpoint", "")
    server = urlsplit(endpoint if "//" in endpoint else f"sb://{endpoint}")
    name, key, signed = (
        values.get(each, "") for each in ("sharedaccesskeyname", "sharedaccesskey", "sharedaccesssignature")
    )
    if not server.hostname or not (signed or (name and key)):
        raise ValueError("The connection string has no endpoint, or no key.")
    if values.get("entitypath", queue) != queue:
        raise ValueError("The connection string is of another queue.")

    async def token(audience: str) -> tuple[str, float]:
        return _signed_elsewhere(signed) if signed else _sign(audience, name, key)

    is_plain = values.get("usedevelopmentemulator", "").lower() == "true"
    port = server.port or (_AMQP if is_plain else _AMQPS)
    kind = "servicebus.windows.net:sastoken"
    return Namespace(server.hostname, port, queue, kind, token, None if is_plain else trusted)


def _sign(audience: str, name: str, key: str) -> tuple[str, float]:
    """Return a token of a key: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas."""
    expires_on = int(time.time()) + _LIFETIME
    resource = quote_plus(audience)
    digest = hmac.digest(key.encode(), f"{resource}\n{expires_on}".encode(), hashlib.sha256)
    signature = quote_plus(base64.b64encode(digest))
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expires_on}&skn={name}", expires_on


def _signed_elsewhere(text: str) -> tuple[str, float]:
    end = text.partition("se=")[2].partition("&")[0]
    return text, int(end) if end.isdecimal() else time.time() + _LIFETIME
