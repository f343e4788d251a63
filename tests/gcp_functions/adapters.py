"""The Cloud Run function under contract."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import flask
import pytest

from core.http import Request
from gcp_functions.http import to_request
from tests.contract.adapter import Adapter, Campaign, Factory
from tests.contract.store import http_answer
from tests.support.google import Firestore, PubSub
from tests.support.processes import ROOT, running
from tests.support.proxy import Mode, Proxy


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


def _flask(headers: list[tuple[str, str]], body: bytes) -> Request:
    """Present a delivery as gunicorn and Flask do: repeated headers joined, content headers renamed."""
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
    return to_request(flask.Request(environ))


ADAPTERS: dict[str, Factory] = {
    "Google Cloud, Pub/Sub": _google_cloud("pubsub"),
    "Google Cloud, Firestore": _google_cloud("firestore"),
}
PIPED_LOGS = ["Google Cloud, Firestore"]
FRONT_DOORS = {"Flask": _flask}
CAMPAIGNS = {
    "firestore": Campaign("Google Cloud, Firestore", http_answer(429)),
    "pubsub": Campaign("Google Cloud, Pub/Sub", http_answer(429), is_unique=False),
}
