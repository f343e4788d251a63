"""Chooses the store, the secrets and the log from the environment."""

import time
from collections.abc import Mapping

from aws_lambda.dynamodb import DynamoDbStore
from aws_lambda.log import build_log
from aws_lambda.seen_keys import DynamoDbSeenKeys
from aws_lambda.service import call, client
from aws_lambda.sqs import SqsQueue
from core.assembly import build
from core.environment import Environment
from core.receiver import Receiver, UnconfiguredReceiver
from core.stores.contract import Store
from core.stores.dedup import Deduplicated
from core.verify.secrets import ManagedSecrets

# Seconds for the secret, of a request's 8.
_FETCH = 4.0
_TEMPLATE = "aws_lambda/template.yaml sets it"


def build_receiver(environ: Mapping[str, str]) -> Receiver | UnconfiguredReceiver:
    """Build the receiver, even in an invalid environment; see `core.assembly.build`.

    With an exception here, Lambda would answer 502 without a reason, and start a sandbox for each request.
    """
    return build(environ, build_store, build_log(environ), build_secrets)


def build_store(environment: Environment) -> Store:
    """Build the store that DT_STORE names.

    Raises:
        core.environment.SettingsError: The environment is invalid.
    """
    days = environment.keep_days("DT_KEEP_DAYS")
    if environment.one_of("DT_STORE", "dynamodb", "sqs") == "dynamodb":
        table = environment.required("DT_TABLE", f"the table of events. {_TEMPLATE}")
        environment.check()
        return DynamoDbStore(client("dynamodb"), table, days)
    url = environment.required("DT_QUEUE_URL", f"the queue. {_TEMPLATE}")
    seen = environment.required("DT_SEEN_TABLE", f"the table of sent keys. {_TEMPLATE}")
    environment.check()
    return Deduplicated(SqsQueue(client("sqs"), url), DynamoDbSeenKeys(client("dynamodb"), seen, days))


def build_secrets(environment: Environment) -> ManagedSecrets | None:
    """Build the source of the signature secrets, if DT_SIGNATURE_SECRET_ID names an entry of Secrets Manager."""
    secret_id = environment.get("DT_SIGNATURE_SECRET_ID")
    if not secret_id:
        return None
    get = client("secretsmanager").get_secret_value

    def fetch() -> str:
        return str(call(get, time.monotonic() + _FETCH, SecretId=secret_id).get("SecretString", ""))

    return ManagedSecrets(fetch, "Is DT_SIGNATURE_SECRET_ID right, and may the function's role read that secret?")
