"""Login to Google by the real google-auth: user credentials here, the metadata server on Google Cloud.

Tests with a metadata server run in a subprocess, because google-auth looks up its address when it is imported.
"""

import json
import re
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from google.oauth2.credentials import Credentials

from core.service.attempts import ATTEMPTS
from gcp_functions.service import Service, connect
from tests.contract.fault import SECRET
from tests.gcp_functions.google_calls import PATH, cause_of, html, publish
from tests.support.loopback import (
    DROPPED,
    Answering,
    Call,
    Loopback,
    Reply,
    google_fault,
    in_turn,
    loopback,
    success,
)
from tests.support.ports import free_port
from tests.support.processes import ROOT, run_alone


def _logged_in(server: Loopback) -> Service:
    """Return a service as after ``gcloud auth application-default login``; the server also serves OAuth."""
    credentials = Credentials(  # type: ignore[no-untyped-call]
        "token-0", refresh_token=SECRET, token_uri=f"{server.url}/token", client_id="i", client_secret=SECRET
    )
    return Service(server.url, lambda _: credentials)


def _tokens(answering: Answering) -> Answering:
    """Answer so; answer requests for a token with the next token."""
    given = iter(range(1, 100))

    def answer(call: Call) -> Reply | None:
        if call.path == "/token":
            return success(access_token=f"token-{next(given)}", expires_in=3600, token_type="Bearer")
        return answering(call)

    return answer


def _published(server: Loopback) -> list[str | None]:
    return [call.headers.get("authorization") for call in server.calls if call.path == PATH]


def test_refused_token_is_replaced_within_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.service.attempts.ATTEMPTS", 1)
    refused = google_fault(401, "UNAUTHENTICATED", SECRET)
    with loopback(_tokens(in_turn(refused, success(name="n")))) as server:
        service = _logged_in(server)
        assert publish(service) == {"name": "n"}
        assert _published(server) == ["Bearer token-0", "Bearer token-1"]
        assert publish(service) == {"name": "n"}
        assert _published(server)[2:] == ["Bearer token-1"]


def test_refused_new_token_is_not_retried() -> None:
    with loopback(_tokens(in_turn(google_fault(401, "UNAUTHENTICATED", SECRET)))) as server:
        service = _logged_in(server)
        assert cause_of(service) == "UNAUTHENTICATED"
        assert _published(server) == ["Bearer token-0", "Bearer token-1"]


def test_expired_login_is_reported_as_refresh_error(caplog: pytest.LogCaptureFixture) -> None:
    ended = Reply(400, json.dumps({"error": "invalid_grant", "error_description": SECRET}).encode())
    with loopback(lambda call: ended if call.path == "/token" else google_fault(401, "UNAUTHENTICATED")) as server:
        assert cause_of(_logged_in(server)) == "RefreshError"
    assert SECRET not in caplog.text


# Calls this many times, and prints everything that could leak.
PROGRAM = """
import logging, sys, time, traceback

logging.basicConfig(level=logging.DEBUG)

from core.stores.contract import StoreUnavailableError
from gcp_functions.service import connect

service = connect(sys.argv[1], None)
for _ in range(int(sys.argv[2])):
    try:
        print("answer", service.call("POST", "/v1/t", time.monotonic() + 60, {"a": "b"}))
    except StoreUnavailableError as error:
        print("cause", error.reason)
        traceback.print_exc()
        print(repr(error), vars(error))
print(repr(service), vars(service))
"""


def _run(folder: Path, url: str, times: int, program: str = PROGRAM, **environ: str) -> str:
    """Run the program without the tests' environment, and return its output."""
    return run_alone(program, folder, url, str(times), **environ)


def _said(output: str, word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in output.splitlines() if line.startswith(f"{word} ")]


def test_missing_credentials_say_what_to_do(tmp_path: Path) -> None:
    with loopback(in_turn(success())) as server:
        output = _run(tmp_path, server.url, 1, NO_GCE_CHECK="true")
        assert server.calls == []
    sentence = "No credentials of Google Cloud. On your machine: gcloud auth application-default login."
    assert _said(output, "cause") == [sentence]


def test_invalid_credentials_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"type": "service_account", "private_key": SECRET}))
    with loopback(in_turn(success())) as server:
        output = _run(tmp_path, server.url, 1, NO_GCE_CHECK="true", GOOGLE_APPLICATION_CREDENTIALS=str(path))
        assert server.calls == []
    [sentence] = _said(output, "cause")
    assert "gcloud auth" in sentence
    assert SECRET not in output


def test_later_login_works_after_a_failed_one(tmp_path: Path) -> None:
    """The metadata server may start after the instance."""
    path = tmp_path / "key.json"
    with loopback(in_turn(success(name="n"))) as server:
        service = connect(server.url, "")
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("NO_GCE_CHECK", "true")
            patched.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
            assert "gcloud auth" in cause_of(service)
            ours = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
            path.write_text(json.dumps({**ours, "token_uri": f"{server.url}/token"}))
            assert cause_of(service) != "deadline"


TOKEN = "ya29.the-token-that-nobody-may-see-"


def _metadata(lifetimes: list[int], token: Reply | None = DROPPED) -> Answering:
    """Answer as Google's metadata server does, with tokens of these lifetimes in seconds, then with ``token``."""
    count = iter(range(1, 100))

    def answer(call: Call) -> Reply | None:
        path = call.path.partition("?")[0].removeprefix("/computeMetadata/v1/")
        flavor = {"Metadata-Flavor": "Google"}
        if call.method == "POST":
            return success(name="n")
        assert call.headers["metadata-flavor"] == "Google"
        if path == "/":
            return Reply(200, b"", flavor)
        if path == "project/project-id":
            return Reply(200, b"p", flavor | {"Content-Type": "application/text"})
        if path in ("instance/service-accounts/default/", "instance/service-accounts/robot@tests/"):
            # Not one of Google's, whose region google-auth would look up on the internet.
            return success(email="robot@tests", scopes=["s"])
        if path == "instance/service-accounts/default/token":
            if not lifetimes:
                return token
            return success(access_token=f"{TOKEN}{next(count)}", expires_in=lifetimes.pop(0), token_type="Bearer")
        return Reply(404, b"")

    return answer


def _on_google_cloud(server: Loopback) -> dict[str, str]:
    return {"GCE_METADATA_HOST": server.host, "GCE_METADATA_IP": server.host}


def _asked_for_tokens(server: Loopback) -> list[Call]:
    return [call for call in server.calls if call.path.partition("?")[0].endswith("/token")]


def test_expired_token_is_renewed_by_the_metadata_server(tmp_path: Path) -> None:
    """The first token expires, so the second call fetches another, which the third uses too."""
    with loopback(_metadata([1, 3600])) as server:
        output = _run(tmp_path, server.url, 3, **_on_google_cloud(server))
        sent = [call.headers["authorization"] for call in server.calls if call.method == "POST"]
        asked = _asked_for_tokens(server)
    assert _said(output, "answer") == [str({"name": "n"})] * 3
    assert sent == [f"Bearer {TOKEN}1", f"Bearer {TOKEN}2", f"Bearer {TOKEN}2"]
    assert len(asked) == 2
    for scope in ("pubsub", "datastore"):
        assert f"%2Fauth%2F{scope}" in asked[0].path
    assert TOKEN not in output


REFUSALS = [
    (html(500), "no token: HTTP 500", ATTEMPTS),
    (html(503), "no token: HTTP 503", ATTEMPTS),
    (html(429), "no token: HTTP 429", ATTEMPTS),
    (DROPPED, "no token: ProtocolError", ATTEMPTS),
    (html(200), "no token: TypeError", ATTEMPTS),
    (success(), "no token: KeyError", ATTEMPTS),
    (success(access_token="t", expires_in="soon"), "no token: TypeError", ATTEMPTS),
    (html(404), "RefreshError", ATTEMPTS),
    (html(403), "RefreshError", ATTEMPTS),
]


@pytest.mark.parametrize(("reply", "cause", "asked"), REFUSALS)
def test_refusing_metadata_server_is_called_once_for_each_attempt(
    reply: Reply | None, cause: str, asked: int, tmp_path: Path
) -> None:
    """google-auth would retry five times, and sleep for 15 s meanwhile."""
    with loopback(_metadata([], reply)) as server:
        started = time.monotonic()
        output = _run(tmp_path, server.url, 1, **_on_google_cloud(server))
        assert time.monotonic() - started < 15
        assert [call for call in server.calls if call.method == "POST"] == []
        assert len(_asked_for_tokens(server)) == asked
    assert _said(output, "cause") == [cause]
    assert SECRET not in output


def test_missing_metadata_server_says_what_to_do(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    output = _run(tmp_path, "http://127.0.0.1:9", 1, GCE_METADATA_HOST=nowhere, GCE_METADATA_IP=nowhere)
    [cause] = _said(output, "cause")
    assert cause == "no token: NewConnectionError. On your machine: gcloud auth application-default login."


def test_failed_early_renewal_keeps_the_valid_token(tmp_path: Path) -> None:
    """google-auth renews a token in its last minutes."""
    with loopback(_metadata([60], html(503))) as server:
        output = _run(tmp_path, server.url, 2, **_on_google_cloud(server))
        assert len(_asked_for_tokens(server)) == 2
    assert _said(output, "answer") == [str({"name": "n"})] * 2


def test_refusing_metadata_server_is_retried_by_the_next_delivery(tmp_path: Path) -> None:
    answering = _metadata([3600])
    refusals = iter(range(ATTEMPTS))

    def answer(call: Call) -> Reply | None:
        is_token = "/token" in call.path
        return html(403) if is_token and next(refusals, None) is not None else answering(call)

    with loopback(answer) as server:
        output = _run(tmp_path, server.url, 2, **_on_google_cloud(server))
    assert _said(output, "cause") == ["RefreshError"]
    assert _said(output, "answer") == [str({"name": "n"})]


# Imports nothing but what the first argument's file pins, as on Google Cloud, where nothing else is installed.
PINNED_ALONE = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
"""


def test_package_alone_can_log_in(tmp_path: Path) -> None:
    """google-auth does without some packages until it meets Google's metadata server."""
    pins = (ROOT / "gcp_functions" / "requirements.txt").read_text()
    pinned = {_normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", pins, re.MULTILINE)}
    absent = {
        module
        for module, distributions in packages_distributions().items()
        if pinned.isdisjoint(_normal(each) for each in distributions)
    }
    assert "boto3" in absent
    with loopback(_metadata([3600])) as server:
        program = PINNED_ALONE.format(absent=absent) + PROGRAM
        output = _run(tmp_path, server.url, 1, program, **_on_google_cloud(server))
    assert _said(output, "settings") == []
    assert _said(output, "answer") == [str({"name": "n"})]


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
