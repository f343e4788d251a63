"""Every adapter as its platform runs it. A new one joins by adding its factory to `ADAPTERS`.

And every front door: how one HTTP request becomes a `Request`. A new one joins by adding its function to `FRONT_DOORS`.
"""

import asyncio
import io
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import flask
import pytest
from azure.functions import HttpRequest

import azure_functions.http as azure_functions_http
import gcp_functions.http
import ibm_actions.http
from aws_lambda.http import to_request
from core.http import Request
from server.asgi import App, Message
from tests.support.aws import EVENTS_KEYS, SEEN_KEYS, create_queue, create_table, items, messages
from tests.support.azure_host import azure_functions
from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.couchdb import CouchDb, Events
from tests.support.front_doors import AWS_FRONT_DOORS, FrontDoor
from tests.support.google import Firestore, PubSub
from tests.support.ibm import IBM_FRONT_DOORS, ibm_function
from tests.support.moto import MotoServer
from tests.support.postgres import Postgres, execute
from tests.support.processes import ROOT, Answer, running
from tests.support.proxy import Mode, Proxy
from tests.support.sandbox import sandbox
from tests.support.service_bus import service_bus


class Receiving(Protocol):
    """A receiver that runs."""

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make one HTTP request."""
        ...

    def wait_for_lines(self, count: int) -> list[dict[str, Any]]:
        """Return the log lines once there are so many, less those of health checks."""
        ...

    def output(self) -> str:
        """Return all that it printed."""
        ...


@dataclass
class Adapter:
    """One receiver, and a look at what it stored.

    Attributes:
        receiving: The receiver.
        bodies: Reads the stored bodies, past the receiver.
        block: Takes the store away.
        unblock: Gives it back.
        proxies: What is between the receiver and its store.
        longest_header: The bytes of a header that the server before it lets through; of those that are tried.
        again: What is answered to a second copy: Service Bus drops one without a word.
    """

    receiving: Receiving
    bodies: Callable[[], list[bytes]]
    block: Callable[[], object]
    unblock: Callable[[], object]
    proxies: Sequence[Proxy] = ()
    longest_header: int = 102_400
    again: str = "duplicate"


Factory = Callable[[Mapping[str, str], Path, pytest.FixtureRequest], AbstractContextManager[Adapter]]


@contextmanager
def local(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    path = folder / "events.db"

    def bodies() -> list[bytes]:
        connection = sqlite3.connect(path)
        found = [row[0] for row in connection.execute("SELECT body FROM events ORDER BY rowid")]
        connection.close()
        return found

    with running("local", {**environ, "DT_DATABASE": str(path)}, folder) as program:
        other = sqlite3.connect(path, isolation_level=None)
        yield Adapter(program, bodies, lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"))
        other.close()


@contextmanager
def heroku(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()

    def bodies() -> list[bytes]:
        return [row["body"] for row in execute(url, "SELECT body FROM events ORDER BY received_at")]

    with running("heroku", {**environ, "DATABASE_URL": url}, folder) as program:
        yield Adapter(
            program,
            bodies,
            lambda: execute(url, "ALTER TABLE events RENAME TO gone"),
            lambda: execute(url, "ALTER TABLE gone RENAME TO events"),
        )


def _aws_lambda(front_door: FrontDoor, store: str = "dynamodb") -> Factory:
    @contextmanager
    def aws_lambda(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
        moto: MotoServer = request.getfixturevalue("moto")
        dynamodb, sqs = moto.client("dynamodb"), moto.client("sqs")
        proxy = Proxy(moto.port)
        table = create_table(dynamodb, EVENTS_KEYS if store == "dynamodb" else SEEN_KEYS)
        queue = create_queue(sqs)
        taken: list[bytes] = []

        def bodies() -> list[bytes]:
            if store == "dynamodb":
                return [item["body"] for item in items(dynamodb, table)]
            taken.extend(
                message["body"] for message in sorted(messages(sqs, queue), key=lambda m: str(m["receivedAt"]))
            )
            return taken

        names = {"DT_STORE": store, "DT_TABLE": table, "DT_SEEN_TABLE": table, "DT_QUEUE_URL": queue}
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
        try:
            with sandbox({**moto.environment, **endpoint, **names, **environ}, folder, front_door) as running_sandbox:
                yield Adapter(
                    running_sandbox,
                    bodies,
                    lambda: proxy.set(Mode.REFUSE),
                    lambda: proxy.set(Mode.PASS),
                    [proxy],
                )
        finally:
            proxy.close()

    return aws_lambda


def _google_cloud(store: str) -> Factory:
    @contextmanager
    def google_cloud(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
        """functions-framework as Google deploys it, which is gunicorn; not its server for debugging."""
        pubsub, firestore = request.getfixturevalue("pubsub"), request.getfixturevalue("firestore")
        topic, database = PubSub(pubsub.host), Firestore(firestore.host)
        proxies = Proxy(pubsub.port), Proxy(firestore.port)
        taken: list[bytes] = []

        def bodies() -> list[bytes]:
            if store == "firestore":
                return [document["body"] for document in database.documents()]
            taken.extend(each["body"] for each in sorted(topic.messages(), key=lambda m: str(m["receivedAt"])))
            return taken

        def behave(mode: Mode) -> None:
            for proxy in proxies:
                proxy.set(mode)

        names = {
            "FUNCTION_SOURCE": str(ROOT / "gcp_functions" / "main.py"),
            "FUNCTION_TARGET": "receive",
            "DT_STORE": store,
            "DT_TOPIC": topic.topic,
            "DT_FIRESTORE": database.database,
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{proxies[0].port}",
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{proxies[1].port}",
        }
        try:
            with running("functions_framework", {**names, **environ}, folder) as program:
                # gunicorn answers 400 to a longer header: https://docs.gunicorn.org/en/stable/settings.html#security
                yield Adapter(
                    program,
                    bodies,
                    lambda: behave(Mode.REFUSE),
                    lambda: behave(Mode.PASS),
                    proxies,
                    longest_header=8000,
                )
        finally:
            for proxy in proxies:
                proxy.close()

    return google_cloud


def _azure(store: str) -> Factory:
    @contextmanager
    def azure(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
        with ExitStack() as stack:
            if store == "service_bus":
                bus = stack.enter_context(service_bus(folder, "events"))
                proxies = [Proxy(bus.port)]
                names = {"DT_SERVICE_BUS": bus.connection_string.replace(str(bus.port), str(proxies[0].port))}

                def bodies() -> list[bytes]:
                    return [message["body"] for message in bus.messages()]
            else:
                azurite: Azurite = request.getfixturevalue("azurite")
                storage = Storage(azurite)
                proxies = [Proxy(azurite.queue_port), Proxy(azurite.table_port)]
                names = {
                    "DT_STORAGE": connection_string(proxies[0].port, proxies[1].port),
                    "DT_QUEUE": storage.queue,
                    "DT_TABLE": storage.table,
                    "DT_SEEN_TABLE": storage.seen_table,
                }
                taken: list[bytes] = []

                def bodies() -> list[bytes]:
                    if store == "table":
                        return [entity["body"] for entity in storage.entities()]
                    taken.extend(
                        each["body"] for each in sorted(storage.messages(), key=lambda m: str(m["receivedAt"]))
                    )
                    return taken

            def behave(mode: Mode) -> None:
                for proxy in proxies:
                    proxy.set(mode)

            for proxy in proxies:
                stack.callback(proxy.close)
            program = stack.enter_context(azure_functions({"DT_STORE": store, **names, **environ}, folder))
            yield Adapter(
                program,
                bodies,
                lambda: behave(Mode.REFUSE),
                lambda: behave(Mode.PASS),
                proxies,
                # Kestrel, which the host is made of, takes 32 KiB of headers:
                # https://learn.microsoft.com/dotnet/api/microsoft.aspnetcore.server.kestrel.core.kestrelserverlimits
                longest_header=30_000,
                again="stored" if store == "service_bus" else "duplicate",
            )

    return azure


def _ibm(front_door: str | None) -> Factory:
    @contextmanager
    def ibm(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
        """The function behind a front door, or the application, which has none."""
        server: CouchDb = request.getfixturevalue("couchdb")
        events = Events(server)
        proxy = Proxy(server.port)
        names = {"DT_CLOUDANT": f"http://user:password@127.0.0.1:{proxy.port}", "DT_DATABASE_PREFIX": events.prefix}
        settings = {**names, **environ}
        program = (
            ibm_function(front_door, settings, folder) if front_door else running("ibm_actions.app", settings, folder)
        )
        try:
            with program as receiving:
                yield Adapter(
                    receiving,
                    lambda: [document["body"] for document in events.documents()],
                    lambda: proxy.set(Mode.REFUSE),
                    lambda: proxy.set(Mode.PASS),
                    [proxy],
                    longest_header=65_000,
                )
        finally:
            proxy.close()

    return ibm


ADAPTERS: dict[str, Factory] = {
    "local": local,
    "heroku": heroku,
    **{f"AWS, {name}": _aws_lambda(front_door) for name, front_door in AWS_FRONT_DOORS.items()},
    "AWS, SQS": _aws_lambda(AWS_FRONT_DOORS["Function URL"], "sqs"),
    "Google Cloud, Pub/Sub": _google_cloud("pubsub"),
    "Google Cloud, Firestore": _google_cloud("firestore"),
    "Azure, Service Bus": _azure("service_bus"),
    "Azure, Storage queue": _azure("storage_queue"),
    "Azure, table": _azure("table"),
    "IBM, Code Engine": _ibm("Code Engine"),
    "IBM, OpenWhisk": _ibm("OpenWhisk"),
    "IBM, application": _ibm(None),
}


def _aws(front_door: FrontDoor) -> Callable[[list[tuple[str, str]], bytes], Request]:
    """Present a delivery as Lambda does, by way of JSON."""
    return lambda headers, body: to_request(json.loads(json.dumps(front_door.event("POST", "/", headers, body))))


def _ibm_params(front_door: FrontDoor) -> Callable[[list[tuple[str, str]], bytes], Request]:
    """Present a delivery as a function's platform does, by way of JSON."""
    return lambda headers, body: ibm_actions.http.to_request(
        json.loads(json.dumps(front_door.event("POST", "/", headers, body)))
    )


def _asgi(chunks: Callable[[bytes], list[bytes]]) -> Callable[[list[tuple[str, str]], bytes], Request]:
    """Present a delivery as an ASGI server does: names in lower case, the body in one message or in many."""

    def present(headers: list[tuple[str, str]], body: bytes) -> Request:
        seen: list[Request] = []
        parts = chunks(body)
        messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": index + 1 < len(parts)}
            for index, part in enumerate(parts)
        ]

        class Keeps:
            async def handle(self, request: Request, started: float) -> Any:
                seen.append(request)
                raise asyncio.CancelledError

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            raise AssertionError(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        try:
            asyncio.run(App(Keeps())(scope, receive, send))  # type: ignore[arg-type]
        except asyncio.CancelledError:
            pass
        return seen[0]

    return present


def _flask(headers: list[tuple[str, str]], body: bytes) -> Request:
    """Present a delivery as gunicorn and Flask do: repeated headers joined, and those of the body under other names."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **joined,
    }
    return gcp_functions.http.to_request(flask.Request(environ))


def _azure_worker(headers: list[tuple[str, str]], body: bytes) -> Request:
    """Present a delivery as Azure's worker does: names in lower case, repeated headers joined, less the empty ones."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    joined = {name: ",".join(filter(None, values)) for name, values in found.items()}
    return azure_functions_http.to_request(HttpRequest("POST", "https://example.com/", headers=joined, body=body))


FRONT_DOORS: dict[str, Callable[[list[tuple[str, str]], bytes], Request]] = {
    "ASGI": _asgi(lambda body: [body]),
    "ASGI, in pieces": _asgi(lambda body: [body[:1], b"", *(body[at : at + 100] for at in range(1, len(body), 100))]),
    **{f"AWS, {name}": _aws(front_door) for name, front_door in AWS_FRONT_DOORS.items()},
    "Flask": _flask,
    "Azure": _azure_worker,
    **{f"IBM, {name}": _ibm_params(front_door) for name, front_door in IBM_FRONT_DOORS.items()},
}
# Those that let only the last of repeated headers through.
KEEP_LAST = {
    f"{cloud}, {name}"
    for cloud, front_doors in (("AWS", AWS_FRONT_DOORS), ("IBM", IBM_FRONT_DOORS))
    for name, front_door in front_doors.items()
    if front_door.keeps_last
}
