"""AWS Lambda: Function URLs, HTTP APIs, REST APIs and load balancers in front of one Receiver."""

import gc

# The collector would look through what 300 imports leave behind some dozens of times, and find nothing to free.
gc.disable()

import os
import time
from collections.abc import Mapping
from typing import Any

from aws_lambda.clients import call, client
from aws_lambda.dynamodb import DynamoDbStore
from aws_lambda.metrics import embedded_metrics
from aws_lambda.payloads import to_request, to_response
from aws_lambda.seen_keys import DynamoDbSeenKeys
from aws_lambda.sqs import SqsQueue
from core.dedup import Deduplicated
from core.log import Log
from core.receiver import Receiver
from core.secrets import ManagedSecrets
from core.settings import Settings, SettingsError, keep_days, required
from core.store import Store

# Seconds for the secret, of the 8 that a request has.
_FETCH = 4.0
_TEMPLATE = "aws_lambda/template.yaml sets it"


def build_store(environ: Mapping[str, str]) -> Store:
    """Build the store that DT_STORE names.

    Raises:
        core.settings.SettingsError: It cannot be built from this environment.
    """
    days = keep_days(environ)
    match environ.get("DT_STORE") or "dynamodb":
        case "dynamodb":
            table = required(environ, "DT_TABLE", f"the table of events. {_TEMPLATE}")
            return DynamoDbStore(client("dynamodb"), table, days)
        case "sqs":
            url = required(environ, "DT_QUEUE_URL", f"the queue. {_TEMPLATE}")
            seen = required(environ, "DT_SEEN_TABLE", f"the table of the keys that were sent. {_TEMPLATE}")
            return Deduplicated(SqsQueue(client("sqs"), url), DynamoDbSeenKeys(client("dynamodb"), seen, days))
    raise SettingsError(["DT_STORE must be dynamodb or sqs."])


def build_secrets(environ: Mapping[str, str]) -> ManagedSecrets | None:
    """Return where the signature secrets are to be had, if DT_SIGNATURE_SECRET_ID names an entry of Secrets Manager."""
    secret_id = environ.get("DT_SIGNATURE_SECRET_ID")
    if not secret_id:
        return None
    get = client("secretsmanager").get_secret_value

    def fetch() -> str:
        return str(call(get, time.monotonic() + _FETCH, SecretId=secret_id).get("SecretString", ""))

    return ManagedSecrets(fetch, "Is DT_SIGNATURE_SECRET_ID right, and may the function's role read that secret?")


def build_receiver(environ: Mapping[str, str]) -> Receiver:
    """Build the receiver, whatever the environment is like.

    An exception at this point would have Lambda answer 502 without a word, and start a sandbox for each request.
    """
    log = Log(members=embedded_metrics(environ.get("AWS_LAMBDA_FUNCTION_NAME", "")))
    return Receiver.build(lambda: (Settings.load(environ, build_secrets(environ)), build_store(environ)), log)


receiver = build_receiver(os.environ)
gc.freeze()
gc.enable()


def handler(event: Any, _context: Any) -> dict[str, Any]:
    """Answer one delivery. Never raises: Lambda would hide the reason behind a 502."""
    return to_response(receiver.handle(to_request(event)), event)
