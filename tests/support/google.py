"""Google's own emulators of Pub/Sub and Firestore, each in a process that can be frozen, killed and restarted.

They come with gcloud (``gcloud components install pubsub-emulator cloud-firestore-emulator``) and need Java. Their
data is in memory, so it is lost after ``kill``. They have no IAM and no quotas.
"""

import base64
import json
import os
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port, wait_for
from tests.support.processes import StandIn, spawn

_SDKS = (
    *([Path(os.environ["CLOUDSDK_ROOT_DIR"])] if os.environ.get("CLOUDSDK_ROOT_DIR") else []),
    *([Path(found).resolve().parents[1]] if (found := shutil.which("gcloud")) else []),
    Path("/usr/lib/google-cloud-sdk"),
    Path("/usr/share/google-cloud-sdk"),
    Path.home() / "google-cloud-sdk",
)
_JARS = {
    "pubsub": "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar",
    "firestore": "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar",
}
_MAIN = {"firestore": "com.google.cloud.datastore.emulator.firestore.CloudFirestore"}


def find_jar(name: str) -> Path | None:
    """Return an emulator's jar, if gcloud has installed it."""
    return next((jar for sdk in _SDKS for jar in sorted(sdk.glob(_JARS[name]))), None)


class Emulator(StandIn):
    """One emulator.

    Attributes:
        port: Its port on 127.0.0.1.
        host: The same, for PUBSUB_EMULATOR_HOST or FIRESTORE_EMULATOR_HOST.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it listens."""
        jar, main = find_jar(self._name), _MAIN.get(self._name)
        program = ["-cp", str(jar), main] if main else ["-jar", str(jar)]
        # Compiled in one step and collected by one thread: a test run is too short for more to pay.
        # In English: Firestore's emulator lacks other translations.
        self.process = spawn(
            [
                "java",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xmx256m",
                "-Duser.language=en",
                *program,
                "--host=127.0.0.1",
                f"--port={self.port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.port, self.process)
        # The first write takes longer than the receiver's time-out, because Java loads its code.
        if self._name == "pubsub":
            topic = PubSub(self.host).topic
            call(self.host, "POST", f"{topic}:publish", {"messages": [{"data": "e30="}]})
        else:
            # As many at a time as the tests write: each thread of Java's has its own first time.
            documents = f"{Firestore(self.host).database}/documents/first"
            with ThreadPoolExecutor(20) as pool:
                list(pool.map(lambda _: call(self.host, "POST", documents, {}), range(60)))


@contextmanager
def emulator(name: str) -> Iterator[Emulator]:
    """Yield a new emulator, ``pubsub`` or ``firestore``, or skip if it is not installed."""
    if find_jar(name) is None or not shutil.which("java"):
        pytest.skip(f"no {name} emulator: install gcloud with its emulators, and Java; or set CLOUDSDK_ROOT_DIR")
    started = Emulator(name)
    started.start()
    try:
        yield started
    finally:
        started.close()


class PubSub:
    """A new topic and subscription in an emulator, and their content.

    Attributes:
        topic: The topic's full name.
        subscription: The subscription's full name.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        name = f"t{uuid.uuid4().hex}"
        self.topic = f"projects/tests/topics/{name}"
        self.subscription = f"projects/tests/subscriptions/{name}"
        self.create()

    def create(self) -> None:
        """Create both."""
        call(self._host, "PUT", self.topic, {})
        call(self._host, "PUT", self.subscription, {"topic": self.topic, "enableMessageOrdering": True})

    def delete_topic(self) -> None:
        """Delete the topic; `create` creates another."""
        call(self._host, "DELETE", self.topic)
        call(self._host, "DELETE", self.subscription)

    def publish(self, *messages: dict[str, Any]) -> None:
        """Publish messages, with fields as Pub/Sub's REST API has them."""
        call(self._host, "POST", f"{self.topic}:publish", {"messages": list(messages)})

    def messages(self) -> list[dict[str, Any]]:
        """Take all messages from the subscription; each has its attributes, and ``body`` in bytes."""
        found = []
        pull = {"maxMessages": 1000, "returnImmediately": True}
        while received := call(self._host, "POST", f"{self.subscription}:pull", pull).get("receivedMessages"):
            for each in received:
                message = each["message"]
                attributes = message.get("attributes", {})
                body = base64.b64decode(message.get("data", ""))
                ordering = {"orderingKey": message["orderingKey"]} if "orderingKey" in message else {}
                found.append({**attributes, **ordering, "body": body, "parsed": attributes["parsed"] == "true"})
            ids = [each["ackId"] for each in received]
            call(self._host, "POST", f"{self.subscription}:acknowledge", {"ackIds": ids})
        return found


class Firestore:
    """A new database in an emulator, and its content.

    Attributes:
        database: Its full name.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        # The emulator creates a database for each project.
        self.database = f"projects/p{uuid.uuid4().hex[:20]}/databases/(default)"

    def documents(self, collection: str = "events") -> list[dict[str, Any]]:
        """Return all documents of the collections of that name, as plain values, in order of arrival."""
        query = {"structuredQuery": {"from": [{"collectionId": collection, "allDescendants": True}]}}
        rows = call(self._host, "POST", f"{self.database}/documents:runQuery", query)
        found = [self._plain(row["document"]) for row in rows if "document" in row]
        return sorted(found, key=lambda document: str(document.get("receivedAt")))

    def put(self, path: str, fields: dict[str, Any]) -> None:
        """Write a document, with fields as Firestore's REST API has them."""
        call(self._host, "PATCH", f"{self.database}/documents/{path}", {"fields": fields})

    def _plain(self, document: dict[str, Any]) -> dict[str, Any]:
        fields = {name: next(iter(value.items())) for name, value in document.get("fields", {}).items()}
        return {"path": document["name"].partition("/documents/")[2]} | {
            name: base64.b64decode(value) if kind == "bytesValue" else value for name, (kind, value) in fields.items()
        }


def call(host: str, method: str, path: str, document: Any = None) -> Any:
    """Make a request to an emulator's REST API, without the adapter, and return the answer's document."""
    body = None if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer owner"}
    request = urllib.request.Request(f"http://{host}/v1/{path}", body, headers, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.loads(answer.read())
