"""Google Cloud: a Cloud Run function, as functions-framework calls it, in front of one Receiver."""

import gc

# The collector would look through what some hundred imports leave behind, again and again, and find nothing to free.
gc.disable()

import os
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

from core.dedup import Deduplicated
from core.http import Disconnected, Request, TooLarge
from core.log import Log
from core.receiver import Receiver
from core.settings import Settings, SettingsError, keep_days, one_of, required
from core.store import SeenKeys, Store
from gcp_functions import firestore, pubsub
from gcp_functions.firestore import FirestoreStore
from gcp_functions.http import Answer, to_request, to_response
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.rest import Service, connect
from gcp_functions.seen_keys import FirestoreSeenKeys, NoSeenKeys

if TYPE_CHECKING:
    import flask

# https://cloud.google.com/trace/docs/trace-context: the trace's id, a slash, and what is not needed here.
_TRACE = re.compile("[0-9a-f]{32}(?=/|$)").match
_PROJECT = re.compile("projects/([^/]+)/").match
_trace: ContextVar[str] = ContextVar("trace", default="")


def build_store(environ: Mapping[str, str]) -> Store:
    """Build the store that DT_STORE names.

    Raises:
        core.settings.SettingsError: It cannot be built from this environment.
    """
    match environ.get("DT_STORE") or "pubsub":
        case "pubsub":
            topic = _full_name(environ, "DT_TOPIC", "projects/PROJECT/topics/TOPIC")
            ordering = one_of(environ, "DT_ORDERING", "none", "device")
            service = connect(pubsub.URL, environ.get("PUBSUB_EMULATOR_HOST"))
            return Deduplicated(PubSubQueue(service, topic, ordering == "device"), _build_seen_keys(environ))
        case "firestore":
            return FirestoreStore(*_firestore(environ))
    raise SettingsError(["DT_STORE must be pubsub or firestore."])


def _build_seen_keys(environ: Mapping[str, str]) -> SeenKeys:
    if one_of(environ, "DT_SEEN_KEYS", "firestore", "none") == "none":
        return NoSeenKeys()
    return FirestoreSeenKeys(*_firestore(environ))


def _firestore(environ: Mapping[str, str]) -> tuple[Service, str, int]:
    database = _full_name(environ, "DT_FIRESTORE", "projects/PROJECT/databases/DATABASE")
    return connect(firestore.URL, environ.get("FIRESTORE_EMULATOR_HOST")), database, keep_days(environ)


def _full_name(environ: Mapping[str, str], variable: str, form: str) -> str:
    name = required(environ, variable, f"it has the form {form}. gcp_functions/terraform sets it")
    if re.fullmatch(re.sub("[A-Z]+", "[^/]+", form), name):
        return name
    raise SettingsError([f"{variable} must have the form {form}."])


def build_receiver(environ: Mapping[str, str]) -> Receiver:
    """Build the receiver, whatever the environment is like.

    An exception at this point would end the container, and start the next one, without a word to DT of why.
    """
    found = _PROJECT(environ.get("DT_TOPIC") or environ.get("DT_FIRESTORE") or "")
    log = Log(members=_trace_of(found[1]) if found else None)
    return Receiver.build(lambda: (Settings.load(environ), build_store(environ)), log)


def _trace_of(project: str) -> Callable[[str], str]:
    """Return what `core.log.Log` takes as ``members``: the trace, under which Cloud Logging shows a request's lines."""

    def members(_outcome: str) -> str:
        trace = _trace.get()
        return f',"logging.googleapis.com/trace":"projects/{project}/traces/{trace}"' if trace else ""

    return members


receiver = build_receiver(os.environ)
gc.freeze()
gc.enable()


def receive(request: "flask.Request") -> Answer:
    """Answer one delivery. Never raises, and never returns None: either would be a 500 without a word of why."""
    found = _TRACE(request.headers.get("X-Cloud-Trace-Context", ""))
    _trace.set(found[0] if found else "")
    started = time.monotonic()
    bare = Request(request.method, request.path, (), b"")
    try:
        return to_response(receiver.handle(to_request(request), started))
    except TooLarge:
        return to_response(receiver.too_large(bare, started))
    except Disconnected:
        return to_response(receiver.give_up(bare, "disconnected", started))
