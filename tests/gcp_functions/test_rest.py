"""The one way to call Google: again where that may help, never past the deadline, by a cause that gives nothing away.

Against an HTTP server of the tests' own, by google-auth and urllib3 as they are. What google-auth asks the metadata
server is asked in a process of its own, because google-auth looks for the server's address when it is imported.
"""

import datetime
import ipaddress
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.auth.credentials import AnonymousCredentials
from google.oauth2.credentials import Credentials

from core.attempts import ATTEMPT, ATTEMPTS
from core.receiver import DEADLINE
from core.store import StoreUnavailable
from gcp_functions.rest import Service, connect
from tests.support.loopback import (
    DROPPED,
    SILENT,
    Answering,
    Call,
    Loopback,
    Reply,
    gives_nothing_away,
    google_fault,
    in_turn,
    loopback,
    success,
)
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.proxy import Mode, Proxy

SECRET = "what nobody but DT may know"
PATH = "/v1/projects/p/topics/t:publish?a=b"
DOCUMENT = {"messages": [{"data": SECRET}]}


def publish(service: Service, seconds: float = DEADLINE) -> Any:
    return service.call("POST", PATH, time.monotonic() + seconds, DOCUMENT)


def cause_of(service: Service, seconds: float = DEADLINE) -> str:
    """Return the cause of a call that fails, having seen that nothing of what was sent or answered is in the error."""
    with pytest.raises(StoreUnavailable) as caught:
        publish(service, seconds)
    gives_nothing_away(caught.value, SECRET)
    return caught.value.cause


def html(status: int) -> Reply:
    return Reply(status, f"<p>{SECRET}".encode(), {"Content-Type": "text/html"})


AGAIN = {
    "500": (google_fault(500, "INTERNAL", SECRET), "INTERNAL"),
    "502 of something between": (html(502), "HTTP 502"),
    "503": (google_fault(503, "UNAVAILABLE", SECRET), "UNAVAILABLE"),
    "504": (google_fault(504, "DEADLINE_EXCEEDED", SECRET), "DEADLINE_EXCEEDED"),
    "429": (google_fault(429, "RESOURCE_EXHAUSTED", SECRET), "RESOURCE_EXHAUSTED"),
    "409 that is no duplicate": (google_fault(409, "ABORTED", SECRET), "ABORTED"),
    "500 without a word": (Reply(500, b""), "HTTP 500"),
    "429 without a word": (Reply(429, b""), "HTTP 429"),
    "503 without a code": (Reply(503, b"{}"), "HTTP 503"),
    "closed without an answer": (DROPPED, "ProtocolError"),
    "cut off": (
        Reply(200, b'{"messageIds":["1"]}', {"Content-Length": "1000", "Connection": "close"}),
        "ProtocolError",
    ),
}


@pytest.mark.parametrize(("reply", "cause"), AGAIN.values(), ids=AGAIN.keys())
def test_what_may_pass_is_tried_again_and_then_given_up(reply: Reply | None, cause: str) -> None:
    with loopback(in_turn(reply)) as server:
        assert cause_of(connect("", server.host)) == cause
        assert len(server.calls) == ATTEMPTS == 3
        assert {(each.method, each.path) for each in server.calls} == {("POST", PATH)}
        assert [each.parameters for each in server.calls] == [DOCUMENT] * 3


@pytest.mark.parametrize("reply", [reply for reply, _ in AGAIN.values()], ids=AGAIN.keys())
def test_the_last_attempt_may_succeed(reply: Reply | None) -> None:
    with loopback(in_turn(*[reply] * (ATTEMPTS - 1), success(messageIds=["1"]))) as server:
        assert publish(connect("", server.host)) == {"messageIds": ["1"]}
        assert len(server.calls) == ATTEMPTS


NEVER_AGAIN = {
    **{
        code: (google_fault(status, code, SECRET), code)
        for status, code in (
            (400, "INVALID_ARGUMENT"),
            (400, "FAILED_PRECONDITION"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (409, "ALREADY_EXISTS"),
        )
    },
    "403 without a word": (Reply(403, b""), "HTTP 403"),
    "404 that is no JSON": (html(404), "HTTP 404"),
    "400 without a code": (Reply(400, b"{}"), "HTTP 400"),
    "400 in OAuth's form": (Reply(400, json.dumps({"error": "x", "error_description": SECRET}).encode()), "HTTP 400"),
    "400 with a message alone": (Reply(400, json.dumps({"error": {"message": SECRET}}).encode()), "HTTP 400"),
    "code without a status": (Reply(403, b'{"error":{"code":403}}'), "HTTP 403"),
    "a status that is a text of its own": (Reply(403, b'{"error":{"status":"for your eyes only"}}'), "HTTP 403"),
    "another place": (Reply(302, b"", {"Location": "/elsewhere"}), "HTTP 302"),
    "200 that is no JSON": (html(200), "HTTP 200"),
    "200 and nothing": (Reply(200, b""), "HTTP 200"),
    "200 and null": (Reply(200, b"null"), "HTTP 200"),
    "200 and not UTF-8": (Reply(200, b'{"a":"\xff"}'), "HTTP 200"),
    "200 and half a document": (Reply(200, b'{"messageIds":["1"'), "HTTP 200"),
    "200 and a list": (Reply(200, b"[]"), "HTTP 200"),
    "200 and a text": (Reply(200, b'"messageIds"'), "HTTP 200"),
    "202": (Reply(202, b'{"messageIds":["1"]}'), "HTTP 202"),
    "204": (Reply(204, b""), "HTTP 204"),
}


@pytest.mark.parametrize(("reply", "cause"), NEVER_AGAIN.values(), ids=NEVER_AGAIN.keys())
def test_what_will_not_pass_is_tried_once_and_is_no_success(reply: Reply, cause: str) -> None:
    with loopback(in_turn(reply, success(messageIds=["1"]))) as server:
        assert cause_of(connect("", server.host)) == cause
        assert len(server.calls) == 1


def test_the_cause_is_that_of_the_last_attempt() -> None:
    with loopback(in_turn(google_fault(409, "ABORTED"), Reply(403, b"{}"))) as server:
        assert cause_of(connect("", server.host)) == "HTTP 403"
        assert len(server.calls) == 2


def test_a_request_without_a_document_has_no_body() -> None:
    with loopback(in_turn(success(name="n"))) as server:
        assert connect("", server.host).call("GET", "/v1/x", time.monotonic() + 8) == {"name": "n"}
        [call] = server.calls
    assert (call.method, call.path, call.parameters) == ("GET", "/v1/x", None)
    assert "authorization" not in call.headers


def test_nobody_listens() -> None:
    started = time.monotonic()
    assert cause_of(connect("", f"127.0.0.1:{free_port()}")) == "NewConnectionError"
    # Three attempts and the waits between them, of at most 0.2 s and 0.4 s.
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("seconds", [ATTEMPT - 0.05, 0, -1])
def test_no_attempt_begins_when_it_could_not_end(seconds: float) -> None:
    with loopback(in_turn(success())) as server:
        started = time.monotonic()
        assert cause_of(connect("", server.host), seconds) == "deadline"
        assert time.monotonic() - started < 0.5
        assert server.calls == []


def test_silence_ends_before_the_deadline() -> None:
    """For the 8 s of a delivery and for less, at once, because each of them takes its time."""
    took: dict[float, float] = {}
    begun: dict[float, list[float]] = {}
    causes: dict[float, str] = {}

    def run(seconds: float) -> None:
        with loopback(in_turn(SILENT)) as server:
            service = connect("", server.host)
            started = time.monotonic()
            causes[seconds] = cause_of(service, seconds)
            took[seconds] = time.monotonic() - started
            begun[seconds] = [each.began - started for each in server.calls]

    budgets = (DEADLINE, DEADLINE / 2, DEADLINE * 3 / 4)
    _at_once([lambda seconds=seconds: run(seconds) for seconds in budgets])  # type: ignore[misc]
    assert set(causes.values()) == {"ReadTimeoutError"}
    assert (len(begun[4]), len(begun[6])) == (1, 2)
    assert len(begun[8]) in (2, 3)  # on a busy machine there may be no time for the third
    for seconds in budgets:
        assert took[seconds] < seconds
        # A moment for the request to be made and to arrive.
        assert all(at < seconds - ATTEMPT + 0.3 for at in begun[seconds])


def _at_once(programs: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=program) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_twenty_threads_share_connections_and_use_them_again() -> None:
    begin = threading.Barrier(20)
    answers: list[Any] = []

    def answering(call: Call) -> Reply:
        time.sleep(0.01)
        return success(path=call.path)

    with loopback(answering) as server:
        service = connect("", server.host)

        def run(number: int) -> None:
            begin.wait()
            for _ in range(10):
                path = f"/v1/{number}"
                answers.append(service.call("POST", path, time.monotonic() + 8, {}) == {"path": path})

        for _ in range(2):
            _at_once([lambda number=number: run(number) for number in range(20)])  # type: ignore[misc]
        assert server.connections <= 20
    assert answers == [True] * 400


def test_a_connection_that_the_service_closed_meanwhile_costs_no_attempt() -> None:
    """As it is with an instance that had nothing to do for minutes."""
    with loopback(in_turn(success(name="n"))) as server:
        proxy = Proxy(server.server_port)
        try:
            service = connect("", f"127.0.0.1:{proxy.port}")
            for _ in range(3):
                assert publish(service, ATTEMPT + 0.1) == {"name": "n"}
                proxy.set(Mode.REFUSE)
                proxy.set(Mode.PASS)
            assert len(server.calls) == 3
        finally:
            proxy.close()


# TLS.


def _certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a self-signed certificate for ``name``, and what a server speaks TLS with that has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, key_path = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key_path)
    return path, context


def _anonymous(server: Loopback) -> Service:
    return Service(server.url, AnonymousCredentials)


def test_a_server_that_nobody_vouches_for_is_sent_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tls = _certificate(tmp_path, "127.0.0.1")
    with loopback(in_turn(success(name="n")), tls) as server:
        assert cause_of(_anonymous(server)) == "SSLError"
        assert server.calls == []
        assert server.connections == ATTEMPTS
        # And with its certificate among those that are trusted it is answered: that was all it lacked.
        monkeypatch.setattr(certifi, "where", lambda: str(path))
        assert publish(_anonymous(server)) == {"name": "n"}


def test_a_server_with_the_certificate_of_another_is_sent_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tls = _certificate(tmp_path, "127.0.0.2")
    monkeypatch.setattr(certifi, "where", lambda: str(path))
    with loopback(in_turn(success(name="n")), tls) as server:
        assert cause_of(_anonymous(server)) == "SSLError"
        assert server.calls == []


# Who calls.


def _logged_in(server: Loopback) -> Service:
    """Return a service as after ``gcloud auth application-default login``, with the server also in OAuth's place."""
    credentials = Credentials(  # type: ignore[no-untyped-call]
        "token-0", refresh_token=SECRET, token_uri=f"{server.url}/token", client_id="i", client_secret=SECRET
    )
    return Service(server.url, lambda: credentials)


def _tokens(answering: Answering) -> Answering:
    """Answer so, and where a token is asked for with the next one."""
    given = iter(range(1, 100))

    def answer(call: Call) -> Reply | None:
        if call.path == "/token":
            return success(access_token=f"token-{next(given)}", expires_in=3600, token_type="Bearer")
        return answering(call)

    return answer


def _published(server: Loopback) -> list[str | None]:
    return [call.headers.get("authorization") for call in server.calls if call.path == PATH]


def test_a_token_that_is_refused_is_replaced_within_the_attempt() -> None:
    refused = google_fault(401, "UNAUTHENTICATED", SECRET)
    with loopback(_tokens(in_turn(refused, success(name="n")))) as server:
        service = _logged_in(server)
        assert publish(service, ATTEMPT + 0.1) == {"name": "n"}
        assert _published(server) == ["Bearer token-0", "Bearer token-1"]
        assert publish(service) == {"name": "n"}
        assert _published(server)[2:] == ["Bearer token-1"]


def test_who_is_refused_with_new_tokens_too_is_given_up_after_one_attempt() -> None:
    """google-auth fetches a new one twice, and asks again each time."""
    with loopback(_tokens(in_turn(google_fault(401, "UNAUTHENTICATED", SECRET)))) as server:
        service = _logged_in(server)
        assert cause_of(service) == "UNAUTHENTICATED"
        assert _published(server) == ["Bearer token-0", "Bearer token-1", "Bearer token-2"]


def test_a_login_that_has_ended_is_said_by_a_class(caplog: pytest.LogCaptureFixture) -> None:
    ended = Reply(400, json.dumps({"error": "invalid_grant", "error_description": SECRET}).encode())
    with loopback(lambda call: ended if call.path == "/token" else google_fault(401, "UNAUTHENTICATED")) as server:
        assert cause_of(_logged_in(server)) == "RefreshError"
    assert SECRET not in caplog.text


# Calls as often as it is told to, with a wait before each, and prints all that could be seen of it.
PROGRAM = """
import logging, sys, time, traceback

logging.basicConfig(level=logging.DEBUG)

from google.auth import _exponential_backoff

# google-auth waits 1, 2, 4 and 8 s between its attempts.
_exponential_backoff._BaseExponentialBackoff.__init__.__defaults__ = (3, 0.01, 0.1, 2.0)

from core.store import StoreUnavailable
from gcp_functions.rest import connect

service = connect(sys.argv[1], None)
for _ in range(int(sys.argv[2])):
    try:
        print("answer", service.call("POST", "/v1/t", time.monotonic() + 8, {"a": "b"}))
    except StoreUnavailable as error:
        print("cause", error.cause)
        traceback.print_exc()
        print(repr(error), vars(error))
print(repr(service), vars(service))
"""


def _run(folder: Path, url: str, times: int, program: str = PROGRAM, **environ: str) -> str:
    """Run the program with nothing of the tests' environment, and return what it printed."""
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "HOME": str(folder)}
    found = subprocess.run(
        [sys.executable, "-c", program, url, str(times)],
        env={**basics, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout
    return found.stdout


def _said(output: str, word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in output.splitlines() if line.startswith(f"{word} ")]


def test_without_credentials_it_says_what_to_do(tmp_path: Path) -> None:
    with loopback(in_turn(success())) as server:
        output = _run(tmp_path, server.url, 1, NO_GCE_CHECK="true")
        assert server.calls == []
    sentence = "No credentials of Google Cloud. On your machine: gcloud auth application-default login."
    assert _said(output, "cause") == [sentence]


def test_a_file_of_credentials_that_is_none_is_said_too(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"type": "service_account", "private_key": SECRET}))
    with loopback(in_turn(success())) as server:
        output = _run(tmp_path, server.url, 1, NO_GCE_CHECK="true", GOOGLE_APPLICATION_CREDENTIALS=str(path))
        assert server.calls == []
    [sentence] = _said(output, "cause")
    assert "gcloud auth" in sentence
    assert SECRET not in output


def test_who_logs_in_later_is_not_held_to_the_first_failure(tmp_path: Path) -> None:
    """The metadata server of an instance may come after the instance."""
    path = tmp_path / "key.json"
    with loopback(in_turn(success(name="n"))) as server:
        service = connect(server.url, None)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("NO_GCE_CHECK", "true")
            patched.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
            assert "gcloud auth" in cause_of(service)
            ours = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
            path.write_text(json.dumps({**ours, "token_uri": f"{server.url}/token"}))
            assert cause_of(service) != "deadline"


TOKEN = "ya29.the-token-that-nobody-may-see-"


def _metadata(lifetimes: list[int], token: Reply | None = DROPPED) -> Answering:
    """Answer as Google's metadata server does, with tokens that live so long; or ``token`` once those are gone."""
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


def test_on_google_cloud_the_metadata_server_says_who_calls(tmp_path: Path) -> None:
    """The first token is at its end, so that the second call fetches another, which the third uses too."""
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


@pytest.mark.parametrize("status", [500, 503, 404, 403])
def test_a_metadata_server_that_refuses_is_said_by_a_class(status: int, tmp_path: Path) -> None:
    with loopback(_metadata([], html(status))) as server:
        output = _run(tmp_path, server.url, 1, **_on_google_cloud(server))
        assert [call for call in server.calls if call.method == "POST"] == []
    assert _said(output, "cause") == ["RefreshError"]
    assert SECRET not in output


def test_a_metadata_server_that_refused_is_asked_again_by_the_next_delivery(tmp_path: Path) -> None:
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


def test_what_is_deployed_is_enough_to_log_in(tmp_path: Path) -> None:
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
