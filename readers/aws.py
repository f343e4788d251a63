"""boto3's clients for the readers of AWS, and what its errors mean to a person.

Credentials, region and endpoint are found as AWS's other tools find them: the variables AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL, the files that
``aws configure`` and ``aws sso login`` write, or the role of the machine.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config

from readers import DeniedError, ReaderError

_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
    exceptions.UnauthorizedSSOTokenError,
)
_UNREACHABLE = (exceptions.ConnectionError, exceptions.HTTPClientError)
_MISSING = re.compile("ResourceNotFoundException|.*(NonExistentQueue|QueueDoesNotExist)").fullmatch


def client(service: str, region: str | None = None) -> Any:
    """Return a client that takes at most 30 s for a call.

    Args:
        service: As boto3 names it.
        region: The region; None for the configured one.

    Raises:
        ReaderError: There is no region, or a setting is invalid.
    """
    with reading(service, "a region"):
        # A session of its own: boto3's default session is not safe on several threads.
        return boto3.session.Session().client(service, region_name=region, config=_CONFIG)


@contextmanager
def reading(what: str, needs: str) -> Iterator[None]:
    """Raise boto3's errors as `ReaderError`, without their text, which may quote data.

    Args:
        what: What is read.
        needs: The permissions.
    """
    try:
        yield
    except exceptions.ClientError as error:
        raise _refusal(what, needs, error) from None
    except exceptions.NoRegionError:
        raise ReaderError("No AWS region is configured. Set AWS_DEFAULT_REGION, such as to eu-west-1.") from None
    except _NO_CREDENTIALS as error:
        raise ReaderError(
            f"No AWS credentials: {type(error).__name__}. Run `aws configure` or `aws sso login`, or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from None
    except _UNREACHABLE as error:
        raise ReaderError(
            f"Cannot reach AWS to read {what}: {type(error).__name__}. Check the network, the region, and "
            "AWS_ENDPOINT_URL if you set it."
        ) from None
    except (exceptions.BotoCoreError, ValueError) as error:
        raise ReaderError(
            f"Cannot read {what}: {type(error).__name__}. Check its name, and the settings of the AWS CLI."
        ) from None


def _refusal(what: str, needs: str, error: exceptions.ClientError) -> ReaderError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if not re.fullmatch("[A-Za-z0-9.]{1,100}", code):
        code = "unknown error"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if _MISSING(code):
        return ReaderError(f"Cannot find {what}. Check its name, the region and the account.")
    is_login = "Token" in code or "UnrecognizedClient" in code
    if is_login or status in (401, 403) or "AccessDenied" in code:
        kind = ReaderError if is_login else DeniedError
        return kind(f"AWS denies reading {what}: {code}. Log in to the right account; you need {needs}.")
    return ReaderError(f"AWS cannot read {what} now: {code}. Try again in a minute.")
