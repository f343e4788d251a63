"""boto3's clients, created once per sandbox, and the call that retries within the deadline."""

from collections.abc import Callable
from typing import Any

import boto3
from botocore import exceptions
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.config import Config
from botocore.session import Session

from aws_lambda.connections import BoundedConnection, BoundedTlsConnection
from core import NAME
from core.environment import SettingsError
from core.service.attempts import ATTEMPT, CONNECT_TIMEOUT, READ_TIMEOUT, attempts
from core.service.sockets import bounded
from core.stores.contract import StoreUnavailableError


class _Connection(AWSHTTPConnection, BoundedConnection):  # type: ignore[misc]
    pass


class _TlsConnection(AWSHTTPSConnection, BoundedTlsConnection):  # type: ignore[misc]
    pass


# botocore's pools stay, with proxies and CA bundles; only their connections are ours.
AWSHTTPConnectionPool.ConnectionCls = _Connection
AWSHTTPSConnectionPool.ConnectionCls = _TlsConnection

_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT,
    read_timeout=READ_TIMEOUT,
    # botocore's retries have no deadline; `core.service.attempts` has one.
    retries={"mode": "standard", "total_max_attempts": 1},
    # A sandbox may be frozen for minutes between requests: keep-alive detects that the connection is gone.
    tcp_keepalive=True,
    # The parameters have the right types: validating them takes 3 % of a call, and building this header 12 %.
    parameter_validation=False,
    user_agent=NAME,
)
_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
    }
)
# The built-in handlers are for other services; registering them takes 4 % of a cold start.
_session = boto3.Session(botocore_session=Session(include_builtin_handlers=False))


def client(service: str) -> Any:
    """Create a client. No failure corrupts its state, so it lasts as long as the sandbox.

    Raises:
        core.environment.SettingsError: The client cannot be created.
    """
    try:
        return _session.client(service, config=_CONFIG)
    except (exceptions.BotoCoreError, ValueError) as error:
        raise SettingsError([f"No client for {service}: {type(error).__name__}. Lambda sets AWS_REGION."]) from None


def call(operation: Callable[..., dict[str, Any]], deadline: float, **parameters: Any) -> dict[str, Any]:
    """Call a client's operation, with the retries of `core.service.attempts`.

    Args:
        operation: A client's method.
        deadline: ``time.monotonic()`` seconds.
        parameters: Its parameters.

    Returns:
        The answer. It is empty if the condition of a write failed: the item exists already.

    Raises:
        StoreUnavailableError: Any other answer than success.
    """
    cause = "deadline"
    for _ in attempts(deadline):
        try:
            with bounded(ATTEMPT):
                return operation(**parameters)
        except exceptions.ClientError as error:
            cause = str(error.response.get("Error", {}).get("Code", "unknown"))
            if cause == "ConditionalCheckFailedException":
                return {}
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            if status < 500 and cause not in _THROTTLED:
                break
        except exceptions.BotoCoreError as error:
            cause = type(error).__name__
            if not isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
                break
    raise StoreUnavailableError(cause) from None
