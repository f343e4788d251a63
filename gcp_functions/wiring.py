"""Chooses the store and the log from the environment."""

import re
from collections.abc import Mapping
from urllib.parse import quote

from core.assembly import build
from core.environment import Environment
from core.receiver import Receiver, UnconfiguredReceiver
from core.stores.contract import SeenKeys, Store
from core.stores.dedup import Deduplicated
from gcp_functions import firestore, pubsub
from gcp_functions.firestore import FirestoreStore
from gcp_functions.log import build_log
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.seen_keys import FirestoreSeenKeys, NoSeenKeys
from gcp_functions.service import connect


def build_receiver(environ: Mapping[str, str]) -> Receiver | UnconfiguredReceiver:
    """Build the receiver, even in an invalid environment; see `core.assembly.build`.

    With an exception here, containers would end and restart, without an answer by the receiver.
    """
    return build(environ, build_store, build_log(environ))


def build_store(environment: Environment) -> Store:
    """Build the store that DT_STORE names.

    Raises:
        core.environment.SettingsError: The environment is invalid.
    """
    days = environment.keep_days("DT_KEEP_DAYS")
    uses_pubsub = environment.one_of("DT_STORE", "pubsub", "firestore") == "pubsub"
    uses_firestore = not uses_pubsub or environment.one_of("DT_SEEN_KEYS", "firestore", "none") == "firestore"
    database = topic = ""
    if uses_firestore:
        database = _full_name(environment, "DT_FIRESTORE", "projects/PROJECT/databases/DATABASE")
    ordering = environment.one_of("DT_ORDERING", "none", "device")
    if uses_pubsub:
        topic = _full_name(environment, "DT_TOPIC", "projects/PROJECT/topics/TOPIC")
    environment.check()
    documents = connect(firestore.URL, environment.get("FIRESTORE_EMULATOR_HOST"))
    if not uses_pubsub:
        return FirestoreStore(documents, database, days)
    seen: SeenKeys = FirestoreSeenKeys(documents, database, days) if uses_firestore else NoSeenKeys()
    messages = connect(pubsub.URL, environment.get("PUBSUB_EMULATOR_HOST"))
    return Deduplicated(PubSubQueue(messages, topic, ordering == "device"), seen)


def _full_name(environment: Environment, variable: str, form: str) -> str:
    name = environment.required(variable, f"it has the form {form}. gcp_functions/terraform sets it")
    if name and not re.fullmatch(re.sub("[A-Z]+", "[^/]+", form), name):
        environment.faults.append(f"{variable} must have the form {form}.")
    # For the paths of URLs.
    return quote(name, safe="/:()", errors="surrogateescape")
