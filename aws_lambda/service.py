"""botocore's clients, made once for each sandbox, and the one way to call them: again where that may help, in time."""

from collections.abc import Callable
from typing import Any

from botocore import exceptions
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.config import Config
from botocore.session import Session

from core import NAME
from core.environment import SettingsError
from core.service.attempts import ATTEMPT, CONNECT_TIMEOUT, READ_TIMEOUT, attempts
from core.service.sockets import bounded
from core.service.transport import BoundedConnection, BoundedTlsConnection
from core.stores.contract import StoreUnavailableError


class _Connection(AWSHTTPConnection, BoundedConnection):  # type: ignore[misc]
    pass


class _TlsConnection(AWSHTTPSConnection, BoundedTlsConnection):  # type: ignore[misc]
    pass


# botocore's pools stay, and so do proxies, CA bundles and whatever else it knows; what they make is ours.
AWSHTTPConnectionPool.ConnectionCls = _Connection
AWSHTTPSConnectionPool.ConnectionCls = _TlsConnection

_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT,
    read_timeout=READ_TIMEOUT,
    # botocore's own retries know no deadline; `core.service.attempts` does.
    retries={"mode": "standard", "total_max_attempts": 1},
    # A sandbox is thawed minutes after its last request: let the kernel notice that the connection is gone.
    tcp_keepalive=True,
    # What is sent is made here, of the right types; checking takes 3 % of a call, and composing this header 12 %.
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
# The built-in handlers mend the ways of services that are not called here; registering them takes 4 % of a cold start.
_session = Session(include_builtin_handlers=False)


def client(service: str) -> Any:
    """Make a client. It has no state that a failure could spoil, so it lasts as long as the sandbox.

    Raises:
        core.environment.SettingsError: It cannot be made.
    """
    try:
        return _session.create_client(service, config=_CONFIG)
    except (exceptions.BotoCoreError, ValueError) as error:
        raise SettingsError([f"No client for {service}: {type(error).__name__}. Lambda sets AWS_REGION."]) from None


def call(operation: Callable[..., dict[str, Any]], deadline: float, **parameters: Any) -> dict[str, Any]:
    """Call a client's operation, as often as `core.service.attempts` has it.

    Args:
        operation: A client's method.
        deadline: ``time.monotonic()`` seconds.
        parameters: Its parameters.

    Returns:
        The answer. An empty one says that the condition of a write was not met: the item exists already.

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
