"""``dtconn send`` against the real receiver, over a real socket, with real signatures."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.http import Response
from core.settings import Settings
from dt_cloud.bodies import EVENT_TYPES
from dt_cloud.signing import Es256Key
from tests.support.deliveries import SECRET, verified
from tests.support.endpoint import Endpoint, listening
from tests.support.ports import free_port
from tests.support.processes import ROOT


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with listening() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder without var/, also instead of the clone's, and without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cli.places._CLONE", tmp_path)
    for name in [name for name in os.environ if name.startswith("DT_")]:
        monkeypatch.delenv(name)


def send(*args: str, secret: str | None = SECRET) -> Result:
    result = CliRunner().invoke(app, ["send", *args], env={"DT_SIGNATURE_SECRET": secret})
    assert secret is None or secret not in result.output
    return result


def summary(result: Result) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def answers(result: Result) -> set[tuple[int | None, str, int]]:
    return {(answer["status"], answer["outcome"], answer["count"]) for answer in summary(result)["answers"]}


def words(text: str) -> str:
    """Remove colours, frames and line breaks from terminal output."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def run(*args: str, **environ: str) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DT_", "FORCE_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *args],
        env=inherited | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "DT_SIGNATURE_SECRET": SECRET} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def wait_for(endpoint: Endpoint, process: "subprocess.Popen[str]") -> None:
    """Wait for the second request, when the first is answered."""
    while len(endpoint.requests) < 2 and process.poll() is None:
        time.sleep(0.01)


def test_one_temperature_is_stored(endpoint: Endpoint) -> None:
    result = send(endpoint.url)
    assert result.exit_code == 0
    assert "1 200 stored" in words(result.stdout)
    assert "p99" in result.stdout
    (event,) = endpoint.store.events.values()
    assert event.parsed
    assert event.event_type == "temperature"
    assert re.fullmatch("emu[0-9a-v]{20}", event.device_id or "")
    assert (event.device_id or "?") in result.stdout


def test_request_equals_that_of_dt_cloud(endpoint: Endpoint) -> None:
    send(endpoint.url + "/hook?a=b")
    (request,) = endpoint.requests
    assert request.path == "/hook?a=b"
    names = [name for name, _ in request.headers]
    assert names.count("X-Dt-Signature") == 1  # in that case
    assert "DT-Asymmetric-Signature" not in names
    assert request.values("content-type") == ["application/json"]
    assert b'{"event":{"eventId":"' in request.body
    claims = jwt.decode(request.values("x-dt-signature")[0], SECRET, ["HS256"])
    assert claims["exp"] - claims["iat"] == 3600


def test_each_event_type_is_accepted_and_parsed(endpoint: Endpoint) -> None:
    result = send(endpoint.url, "--type", "all", "--device", "bchonod7rihjtvdmd2vg", "--json")
    assert result.exit_code == 0
    assert answers(result) == {(200, "stored", len(EVENT_TYPES))}
    assert {event.event_type for event in endpoint.store.events.values()} == set(EVENT_TYPES)
    assert all(event.parsed for event in endpoint.store.events.values())
    assert {event.device_id for event in endpoint.store.events.values()} == {"bchonod7rihjtvdmd2vg"}


def test_several_types_and_a_count_of_each(endpoint: Endpoint) -> None:
    args = ("--type", "touch", "--type", "humidity", "-n", "3", "--samples", "30", "--concurrency", "1")
    assert send(endpoint.url, *args, "--rate", "500").exit_code == 0
    events = list(endpoint.store.events.values())
    assert [event.event_type for event in events] == ["touch", "humidity"] * 3  # in turn
    assert len(events[1].document["event"]["data"]["humidity"]["samples"]) == 30


def test_duplicate_is_stored_once(endpoint: Endpoint) -> None:
    result = send(endpoint.url, "-n", "5", "--duplicate", "--json")
    assert result.exit_code == 0
    assert answers(result) == {(200, "stored", 5), (200, "duplicate", 5)}
    assert summary(result)["deliveries"] == 10
    assert len({request.body for request in endpoint.requests}) == 5
    assert len({token for request in endpoint.requests for token in request.values("x-dt-signature")}) == 10


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("--tamper", "checksum"), ("--expired", "expired"), ("--unsigned", "missing"), ("--wrong-secret", "signature")],
)
def test_refused_fault_is_a_success(endpoint: Endpoint, fault: str, reason: str) -> None:
    result = send(endpoint.url, fault, "-n", "2", "--duplicate", "--json")
    assert result.exit_code == 0
    assert answers(result) == {(401, "The request is not signed by DT Cloud for this receiver.", 4)}
    assert endpoint.reasons == [reason] * 4
    assert not endpoint.store.events
    has_header = any(request.values("x-dt-signature") for request in endpoint.requests)
    assert has_header == (fault != "--unsigned")


def test_accepted_fault_is_a_failure() -> None:
    with listening(environ={"DT_SIGNATURE_POLICY": "unsigned"}) as endpoint:
        result = send(endpoint.url, "--tamper")
    assert result.exit_code == 1
    assert "200 stored (expected 401)" in words(result.stdout)


def test_refused_valid_event_is_a_failure(endpoint: Endpoint) -> None:
    result = send(endpoint.url, secret="another secret, which the receiver does not have")
    assert result.exit_code == 1
    assert "(expected the receiver's 200)" in words(result.stdout)
    assert endpoint.reasons == ["signature"]


def test_unsigned_option_needs_no_secret(endpoint: Endpoint) -> None:
    assert send(endpoint.url, "--unsigned", secret=None).exit_code == 0


def test_missing_secret_says_what_to_do(endpoint: Endpoint) -> None:
    result = send(endpoint.url, secret=None)
    assert result.exit_code == 2
    assert "make run" in result.stderr
    assert "DT_SIGNATURE_SECRET" in result.stderr
    assert not endpoint.requests


def test_secret_of_make_run_is_used(endpoint: Endpoint) -> None:
    Path("var").mkdir()
    Path("var/signature-secret").write_text(SECRET)
    assert send(endpoint.url, secret=None).exit_code == 0
    Path("var/signature-secret").rename("elsewhere")
    assert send(endpoint.url, "--secret-file", "elsewhere", secret=None).exit_code == 0


@pytest.mark.parametrize(
    ("options", "secret", "named"),
    [
        ((), "another secret", "in the variable DT_SIGNATURE_SECRET, "),
        (("--secret", "another secret"), None, "of --secret, "),
        (("--secret-file", "elsewhere"), None, "in the file elsewhere, "),
    ],
)
def test_secret_of_another_receiver_is_named(
    options: tuple[str, ...], secret: str | None, named: str, endpoint: Endpoint
) -> None:
    Path("elsewhere").write_text("another secret")
    result = send(endpoint.url, *options, secret=secret)
    assert result.exit_code == 1
    assert f"They were signed with the secret {named}and the receiver has another." in result.stderr
    assert "make run" in result.stderr
    assert "another secret" not in result.output


def test_short_secret_and_a_list_of_secrets() -> None:
    with listening(environ={"DT_SIGNATURE_SECRET": "test-secret"}) as endpoint:
        assert send(endpoint.url, secret='["test-secret","the next one"]').exit_code == 0


def test_both_signatures_verify_with_the_printed_settings(endpoint: Endpoint) -> None:
    result = send(endpoint.url, "--both-signatures", "--organization", "cvinmt9aq9sc738g6eog", "--json")
    assert result.exit_code == 0  # a receiver without DT_ORGANIZATION_ID does not look at the second
    assert summary(result)["asExpected"]
    lines = [shlex.split(line) for line in result.stderr.splitlines() if line.startswith("export ")]
    printed = dict(line[1].split("=", 1) for line in lines)
    assert set(printed) == {"DT_JWKS", "DT_ORGANIZATION_ID"}
    assert "d" not in json.loads(printed["DT_JWKS"])["keys"][0]  # which would be the private part
    settings = Settings.load({"DT_SIGNATURE_SECRET": SECRET, "DT_SIGNATURE_POLICY": "both"} | printed)
    (request,) = endpoint.requests
    assert [name for name, _ in request.headers].count("DT-Asymmetric-Signature") == 1
    kid = Es256Key.load(Path("var/es256-key.pem")).kid
    assert verified(settings.verifier, request, time.time()).signed_by == f"hs256:0+es256:{kid}"


@pytest.mark.parametrize(
    ("fault", "reason"), [("--tamper", "checksum"), ("--expired", "expired"), ("--wrong-secret", "signature")]
)
def test_faults_of_both_signatures(fault: str, reason: str) -> None:
    environ = {
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_SIGNATURE_POLICY": "both",
        "DT_ORGANIZATION_ID": "dtconn",
        "DT_JWKS": json.dumps(Es256Key.load(Path("key.pem")).jwks),
    }
    args = ("--both-signatures", "--es256-key", "key.pem")
    with listening(environ=environ) as endpoint:
        assert send(endpoint.url, *args).exit_code == 0
        assert send(endpoint.url, *args, fault).exit_code == 0
        assert endpoint.reasons == [reason]


@pytest.mark.parametrize(
    ("response", "outcome", "exit_code"),
    [
        # Not the receiver's, which says what has become of the event.
        (Response(204, (), b""), "", 1),
        (Response(200, (("content-length", "22"),), b"<title>Welcome</title>"), "", 1),
        (Response(200, (("content-length", "15"),), b'{"title":"Hei"}'), "", 1),
        (Response(200, (("event-outcome", "dropped"), ("content-length", "0")), b""), "dropped", 0),
        (Response(500, (("content-length", "20"),), b'{"outcome":"dropped"}'[:20]), "", 1),
        (Response(500, (("content-length", "4"),), b"[[]]"), "", 1),
        (Response(503, (("content-length", "18"),), b'{"title":"\\u001b"}'), "", 1),
        (Response(302, (("content-length", "0"), ("location", "/elsewhere")), b""), "", 1),
    ],
)
def test_answers_of_any_endpoint(response: Response, outcome: str, exit_code: int) -> None:
    with listening(answer=lambda _: response) as endpoint:
        result = send(endpoint.url, "--json")
    assert answers(result) == {(response.status, outcome, 1)}
    assert result.exit_code == exit_code


def test_missing_answer_is_counted_and_sending_continues() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = send(f"http://127.0.0.1:{server.getsockname()[1]}", "-n", "3", "--json")
        thread.join()
    assert result.exit_code == 1
    assert sum(count for _, _, count in answers(result)) == 3
    assert all(status is None and what.endswith("Error") for status, what, _ in answers(result))
    assert not summary(result)["asExpected"]


def test_connection_refused() -> None:
    process = run("send", f"http://127.0.0.1:{free_port()}", "-n", "100")
    out, err = process.communicate()
    assert process.returncode == 1
    assert out == ""
    assert err.startswith("Cannot connect to http://127.0.0.1:")
    assert "make run" in err
    assert err.count("\n") == 1


def test_summary_after_the_receiver_stops() -> None:
    stored = Response(200, (("event-outcome", "stored"), ("content-length", "0"), ("connection", "close")), b"")
    with listening(answer=lambda _: stored) as endpoint:
        process = run("send", endpoint.url, "-n", "1000", "--rate", "20", "--concurrency", "1", "--json")
        wait_for(endpoint, process)
        endpoint.server.shutdown()
        endpoint.server.server_close()
        out, err = process.communicate()
    assert process.returncode == 1
    assert "Cannot connect" in err
    document = json.loads(out)
    assert document["answers"][0]["outcome"] == "stored"
    assert not document["asExpected"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_prints_the_summary_so_far(endpoint: Endpoint) -> None:
    process = run("send", endpoint.url, "-n", "1000", "--rate", "20", "--concurrency", "1", "--json")
    wait_for(endpoint, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert err == ""
    document = json.loads(out)
    assert document["answers"][0]["outcome"] == "stored"
    assert 1 <= document["answers"][0]["count"] <= len(endpoint.requests)
    assert not document["asExpected"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_progress_is_shown_on_a_terminal(endpoint: Endpoint) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "send", endpoint.url, "-n", "6", "--rate", "4", "--json"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "DT_SIGNATURE_SECRET": SECRET, "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    out, _ = process.communicate()
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert process.returncode == 0
    assert "/6" in shown
    assert json.loads(out)["asExpected"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["127.0.0.1:8000"], "begin with https:// or http://"),
        (["ftp://example.com"], "begin with https:// or http://"),
        (["http://"], "name a host"),
        (["http://[::1"], "begin with"),
        (["http://127.0.0.1:99999"], "begin with"),
        (["--type", "ping"], "ping is none of: all, touch"),
        (["--tamper", "--expired"], "choose one"),
        (["--wrong-secret", "--unsigned"], "choose one"),
        (["--unsigned", "--both-signatures"], "choose one"),
        (["--organization", "ours"], "need --both-signatures"),
        (["--es256-key", "key.pem"], "need --both-signatures"),
        (["--count", "0"], "--count"),
        (["--rate", "0"], "--rate"),
        (["--samples", "31"], "--samples"),
        (["--concurrency", "0"], "--concurrency"),
    ],
)
def test_invalid_arguments_exit_2(args: list[str], says: str) -> None:
    result = send(*args)
    assert result.exit_code == 2
    assert says in words(result.stderr)


@pytest.mark.parametrize("command", [[], ["send"], ["events"]])
def test_help(command: list[str]) -> None:
    process = run(*command, "--help")
    out, err = process.communicate()
    assert process.returncode == 0
    assert err == ""
    assert f"Usage: {' '.join(['dtconn', *command])} " in words(out)
    assert not command or f"Examples: dtconn {command[0]} " in words(out)
    assert SECRET not in out
    assert "\b" not in out
