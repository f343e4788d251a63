"""What the readers of Google Cloud share: bounded calls, and what Google's errors mean to a person.

Credentials are found as Google's other tools find them: the file that GOOGLE_APPLICATION_CREDENTIALS names, what
``gcloud auth application-default login`` wrote, or the service account of the machine. FIRESTORE_EMULATOR_HOST,
PUBSUB_EMULATOR_HOST and BIGQUERY_EMULATOR_HOST name emulators, which take no credentials.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from readers import DeniedError, ReaderError

T = TypeVar("T")

# Seconds for one attempt of a call; there are two at most.
TIMEOUT = 10.0
_LOGIN = "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
_REPEATED = (exceptions.ServerError, exceptions.TooManyRequests, exceptions.Aborted)
# gRPC reports a token that could not be fetched as an unreachable service.
_NO_TOKEN = "metadata from plugin"  # noqa: S105 - no password


def asked(call: Callable[[], T], what: str, role: str) -> T:
    """Make a call, which may be made a second time.

    Args:
        call: Takes `TIMEOUT` at most, and does not retry.
        what: What is read.
        role: The role that allows it.

    Raises:
        ReaderError: It failed.
    """
    with reading(what, role):
        try:
            return call()
        except _REPEATED as error:
            if _NO_TOKEN in str(error):
                raise
        return call()


@contextmanager
def reading(what: str, role: str) -> Iterator[None]:
    """Raise errors of Google's clients as `ReaderError`, without their text, which may quote data.

    Args:
        what: What is read.
        role: The role that allows it.
    """
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        kind = DeniedError if _is_denied(error) else ReaderError
        raise kind(_sentence(what, role, error)) from None
    except GoogleAuthError as error:
        raise ReaderError(f"No Google Cloud credentials: {type(error).__name__}. {_LOGIN}.") from None
    except (exceptions.GoogleAPIError, OSError, ValueError, TypeError) as error:
        raise ReaderError(
            f"Cannot read {what}: {type(error).__name__}. Check its name, the network, and the emulator if you set one."
        ) from None


def _is_denied(error: exceptions.GoogleAPICallError) -> bool:
    return isinstance(error, exceptions.Forbidden) and _NO_TOKEN not in str(error)


def _sentence(what: str, role: str, error: exceptions.GoogleAPICallError) -> str:
    name = type(error).__name__
    if isinstance(error, exceptions.NotFound):
        return f"Cannot find {what}. Check its name and the project; the deployment prints it as `source`."
    if isinstance(error, exceptions.Unauthorized) or _NO_TOKEN in str(error):
        return f"Google does not accept your login to read {what}: {name}. {_LOGIN}."
    if _is_denied(error):
        return f"Google denies reading {what}: {name}. Log in to the right account, which needs the role {role}."
    if isinstance(error, (exceptions.ServiceUnavailable, exceptions.GatewayTimeout)):
        return f"Cannot reach Google Cloud to read {what}: {name}. Check the network, and try again."
    if isinstance(error, exceptions.ClientError) and not isinstance(error, _REPEATED):
        return f"Google refuses to read {what}: {name}. Check its name, and that it is the receiver's."
    return f"Google cannot read {what} now: {name}. Try again in a minute."
