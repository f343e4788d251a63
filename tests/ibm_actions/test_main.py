"""`main` as a platform calls it: in a subprocess, with PouchDB's server in Cloudant's place."""

import base64
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.couchdb import CouchDb, Events, couchdb
from tests.support.deliveries import SECRET, body, fresh_body, hs256, signed
from tests.support.ibm import IBM_FRONT_DOORS, code_engine, ibm_function, openwhisk
from tests.support.loopback import loopback, success
from tests.support.processes import ROOT, run_alone

TOKEN = "a token of IAM's"
API_KEY = "an API key of a service id"
PASSWORD = "a password of CouchDB's"
HIDDEN = (SECRET, TOKEN, API_KEY, PASSWORD, "eyJ", "samples")
# The parameters of a delivery on each of the two platforms.
FAMILIES: dict[str, Callable[..., dict[str, Any]]] = {"Code Engine": code_engine(), "OpenWhisk": openwhisk}
CONTENT = body()

# Reads params, a JSON array of them, and prints each result.
CALL = """
import json, pathlib, sys

from ibm_actions.__main__ import main

for params in json.loads(pathlib.Path(sys.argv[1]).read_text()):
    print("result", json.dumps(main(params)), flush=True)
"""


def delivered(content: bytes, family: str, **changes: str) -> dict[str, Any]:
    """Return the params of a signed delivery."""
    headers = {name: value for name, value in (signed(content) | changes).items() if value}
    return FAMILIES[family]("POST", "/", list(headers.items()), content)


def call(folder: Path, calls: list[Any], program: str = CALL, **environ: str) -> tuple[list[Any], list[Any], str]:
    """Return the results of ``main``, the log lines, and all other output."""
    path = folder / "calls.json"
    path.write_text(json.dumps(calls))
    output = run_alone(program, folder, str(path), **environ)
    results = [json.loads(result) for result in re.findall("^result (.*)$", output, re.MULTILINE)]
    rest = [line for line in output.splitlines() if not line.startswith("result ")]
    return results, [json.loads(line) for line in rest if line.startswith("{")], "\n".join(rest)


def problem(result: dict[str, Any]) -> tuple[int, str]:
    """Return the status and the type of a problem document."""
    assert result["headers"]["content-type"] == "application/problem+json"
    document = json.loads(base64.b64decode(result["body"], validate=True))
    assert document["status"] == result["statusCode"]
    return result["statusCode"], document["type"].rsplit(":", 1)[1]


def outcome(result: dict[str, Any]) -> tuple[int, str | None]:
    return result["statusCode"], result["headers"].get("event-outcome")


# Settings.

CLOUDANT = "https://INSTANCE.cloudantnosqldb.appdomain.cloud"
ADDRESS = f"DT_CLOUDANT must be an address such as {CLOUDANT}."
WAYS = "Set one of DT_TRUSTED_PROFILE, DT_CLOUDANT_API_KEY, and a user with its password in DT_CLOUDANT."
PREFIX = "DT_DATABASE_PREFIX must have only a to z, 0 to 9, _ and -, and begin with a letter."
WRONG: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "no Cloudant": ({"DT_CLOUDANT": None}, ["DT_CLOUDANT is not set: "]),
    "a Cloudant without a scheme": ({"DT_CLOUDANT": "example.com"}, [ADDRESS]),
    "no TLS": ({"DT_CLOUDANT": "http://example.com"}, [ADDRESS]),
    "a password with an @": ({"DT_CLOUDANT": f"https://u:{PASSWORD}@x@example.com"}, [ADDRESS]),
    "an API key beside a password": (
        {"DT_CLOUDANT": f"https://u:{PASSWORD.replace(' ', '+')}@example.com"},
        [f"{WAYS} Found: DT_CLOUDANT_API_KEY and a user in DT_CLOUDANT."],
    ),
    "an API key beside a profile": (
        {"DT_TRUSTED_PROFILE": "Profile-x"},
        [f"{WAYS} Found: DT_TRUSTED_PROFILE and DT_CLOUDANT_API_KEY."],
    ),
    "nobody": ({"DT_CLOUDANT_API_KEY": None}, [f"{WAYS} Found: none."]),
    "an IAM without TLS": ({"DT_IAM_URL": "http://example.com"}, ["DT_IAM_URL must be an https address; "]),
    "a prefix in capitals": ({"DT_DATABASE_PREFIX": "Events"}, [PREFIX]),
    "no secret": ({"DT_SIGNATURE_SECRET": None}, ["DT_SIGNATURE_SECRET"]),
    "several faults": (
        {"DT_SIGNATURE_SECRET": "[", "DT_LEEWAY": "soon", "DT_ACCEPT_SHA1": "perhaps"},
        [
            'DT_SIGNATURE_SECRET begins with "[" but is not a JSON array of non-empty strings.',
            "DT_ORGANIZATION_ID",
            "DT_LEEWAY must be a whole number of seconds from 0 to 600.",
            "DT_ACCEPT_SHA1 must be true or false.",
        ],
    ),
}


@pytest.mark.parametrize(("changes", "sentences"), WRONG.values(), ids=WRONG.keys())
def test_invalid_settings_are_reported_at_each_delivery(
    changes: dict[str, str | None], sentences: list[str], tmp_path: Path
) -> None:
    """An exception at the start would stop the function, and no answer would say why."""
    usual = {
        "DT_SIGNATURE_SECRET": SECRET,
        # Never called: the name does not exist.
        "DT_CLOUDANT": "https://cloudant.invalid",
        "DT_CLOUDANT_API_KEY": API_KEY,
    }
    environ = {name: value for name, value in (usual | changes).items() if value is not None}
    calls = [delivered(CONTENT, family) for family in FAMILIES]
    results, lines, output = call(tmp_path, [*calls, code_engine()("GET", "/healthz", [], b"")], **environ)
    assert len(lines) == 3
    for result, line in zip(results[:2], lines[:2], strict=True):
        assert problem(result) == (503, "unavailable")
        assert int(result["headers"]["retry-after"]) > 0
        assert (line["severity"], line["outcome"], line["status"]) == ("ERROR", "failed", 503)
        for sentence in sentences:
            assert sentence in line["reason"]
        assert len(line["reason"].splitlines()) == len(sentences)
        assert line["message"].endswith(".")
        # An unverified request learns nothing about the receiver's settings.
        assert b"DT_" not in base64.b64decode(result["body"])
    assert outcome(results[2]) == (200, "none")
    assert not any(hidden in output for hidden in HIDDEN)


@pytest.mark.parametrize("login", ["us er:a:b@c/d?e#f%41", "üser:pässwörd €"])
def test_non_ascii_password_login(login: str, tmp_path: Path) -> None:
    """CouchDB reads user names and passwords as UTF-8."""
    user, _, password = login.partition(":")
    content = fresh_body()
    with couchdb(login) as server:
        address = f"http://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{server.port}"
        environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_CLOUDANT": address}
        [result], lines, output = call(tmp_path, [delivered(content, "Code Engine")], **environ)
    assert outcome(result) == (200, "stored"), lines
    assert password not in output


@pytest.mark.parametrize("front_door", ["Code Engine", "OpenWhisk"])
def test_invalid_settings_are_503_behind_the_front_door(front_door: str, tmp_path: Path) -> None:
    with ibm_function(front_door, {"DT_SIGNATURE_SECRET": SECRET}, tmp_path) as program:
        for count in (1, 2):
            answer = program.request("POST", "/", signed(CONTENT), CONTENT)
            assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
            assert "DT_CLOUDANT" in program.wait_for_lines(count)[-1]["reason"]
        assert program.request("GET", "/").status == 405


# A web action that is not raw.


def not_raw(content: bytes) -> dict[str, Any]:
    """Return OpenWhisk's parameters of a delivery without ``--web raw``: the body's members instead of the body."""
    native = delivered(content, "OpenWhisk")
    del native["__ow_query"], native["__ow_body"]
    return json.loads(content) | native  # type: ignore[no-any-return]


def test_non_raw_web_action_says_how_to_fix_it(environ: dict[str, str], events: Events, tmp_path: Path) -> None:
    content = fresh_body()
    # A body that is not JSON arrives as in a raw web action.
    with_body = not_raw(content) | {"__ow_body": base64.b64encode(content).decode()}
    unsigned = {**not_raw(content), "__ow_headers": {}}
    results, lines, output = call(
        tmp_path, [not_raw(content), with_body, unsigned, delivered(content, "OpenWhisk")], **environ
    )
    assert len(lines) == 4
    for result, line in zip(results[:3], lines[:3], strict=True):
        assert problem(result) == (503, "misconfigured")
        assert "--web raw" in json.loads(base64.b64decode(result["body"]))["title"]
        assert (line["severity"], line["outcome"], line["status"]) == ("ERROR", "failed", 503)
        assert "--web raw" in line["reason"]
    # None of the three was stored, or this would be a duplicate.
    assert outcome(results[3]) == (200, "stored")
    assert [document["body"] for document in events.documents()] == [content]
    assert not any(hidden in output for hidden in HIDDEN)


# What is no request.

STRANGE: list[Any] = [
    *(None, True, 1, 1.5, "x", "__ce_method", [], ["__ce_method"], [{"__ce_method": "POST"}], {}, {"a": 1}),
    {"__ce_method": None, "__ce_headers": None, "__ce_path": None, "__ce_body": None, "__ce_query": None},
    {"__ow_method": ["post"], "__ow_headers": [], "__ow_path": 1, "__ow_body": {}, "__ow_query": None},
]


def test_non_http_event_is_405(environ: dict[str, str], events: Events, tmp_path: Path) -> None:
    results, _, output = call(tmp_path, STRANGE, **environ)
    assert [problem(result) for result in results] == [(405, "method-not-allowed")] * len(STRANGE)
    assert events.databases() == []
    assert "Traceback" not in output


# Exceptions that are not an Exception and would exit the program.

SITECUSTOMIZE = """
import core.receiver

parse = core.receiver.parse
Odd = type("Odd", (BaseException,), {})
faults = [SystemExit, KeyboardInterrupt, GeneratorExit, Odd, None, ZeroDivisionError, None]

def raises(verified, received_at):
    fault = faults.pop(0)
    if fault:
        raise fault(f"a body {verified.body!r}")
    return parse(verified, received_at)

core.receiver.parse = raises
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_base_exception_is_500_and_the_next_delivery_is_stored(
    family: str, environ: dict[str, str], events: Events, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    environ |= {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    contents = [fresh_body() for _ in range(7)]
    results, lines, output = call(tmp_path, [delivered(content, family) for content in contents], **environ)
    assert [result["statusCode"] for result in results] == [500, 500, 500, 500, 200, 500, 200]
    for result in (*results[:4], results[5]):
        assert problem(result) == (500, "internal-error")
    ended = [line for line in lines if line["message"].endswith(" ended a request.")]
    assert [line["message"].split()[0] for line in ended] == ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "Odd"]
    assert {line["severity"] for line in ended} == {"ERROR"}
    # The text of an exception may quote the body.
    assert "a body" not in output
    assert not any(hidden in output for hidden in HIDDEN)
    assert sorted(document["body"] for document in events.documents()) == sorted([contents[4], contents[6]])


@pytest.mark.parametrize("front_door", ["Code Engine", "OpenWhisk"])
def test_unexpected_exception_is_500_behind_the_front_door(
    front_door: str, environ: dict[str, str], events: Events, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    environ |= {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    with ibm_function(front_door, environ, tmp_path) as program:
        found = [program.request("POST", "/", signed(content), content).status for content in [fresh_body()] * 5]
    assert found == [500] * 4 + [200]


# Bodies.

ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda content: base64.b64encode(content).decode(),
    "plain": bytes.decode,
    "escaped": lambda content: json.dumps(content.decode(), ensure_ascii=False)[1:-1],
}


@pytest.mark.parametrize("prefix", ["__ce_", "__ow_"])
def test_undocumented_body_encoding_is_stored_unchanged(
    prefix: str, environ: dict[str, str], events: Events, tmp_path: Path
) -> None:
    contents, calls = [], []
    for encode in ENCODINGS.values():
        for kind in ("application/json", "text/plain", "application/octet-stream", ""):
            # With JSON escapes, which must stay; and a new event each time.
            text = fresh_body().decode().replace("Møterom", 'M\\u00f8te\\"rom\\n\\\\ \\/ ø')
            content = f"{text}\r\n\t".encode()
            native = {
                f"{prefix}method": "POST",
                f"{prefix}headers": {"X-Dt-Signature": hs256(content)} | ({"Content-Type": kind} if kind else {}),
                f"{prefix}path": "/",
                f"{prefix}query": "",
                f"{prefix}body": encode(content),
            }
            contents.append(content)
            calls += [native | {f"{prefix}body": encode(content + b" ")}, native]
    results, _, _ = call(tmp_path, calls, **environ)
    assert [result["statusCode"] for result in results] == [401, 200] * len(contents)
    assert sorted(document["body"] for document in events.documents()) == sorted(contents)
    assert all(document["parsed"] for document in events.documents())


@pytest.mark.parametrize("front_door", IBM_FRONT_DOORS)
def test_body_of_any_content_type_is_stored_unchanged(
    front_door: str, environ: dict[str, str], events: Events, tmp_path: Path
) -> None:
    contents = []
    with ibm_function(front_door, environ, tmp_path) as program:
        for kind in ("application/json; charset=utf-8", "text/plain", "image/png", "application/x-www-form-urlencoded"):
            content = body(eventId=os.urandom(8).hex(), labels='"\\\n\t æøå 😀')
            answer = program.request("POST", "/", {"Content-Type": kind, "X-Dt-Signature": hs256(content)}, content)
            assert (answer.status, answer.headers["event-outcome"]) == (200, "stored")
            contents.append(content)
    assert [document["body"] for document in events.documents()] == contents


# How it is loaded.

COLLECTOR = """
import gc

assert gc.isenabled()
import ibm_actions.__main__

print(gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


def test_garbage_collector_is_enabled_after_the_imports(environ: dict[str, str], tmp_path: Path) -> None:
    """It is disabled during the imports, and their objects are frozen afterwards."""
    assert run_alone(COLLECTOR, tmp_path, **environ) == "True True\n"


# What lies on the way.


@contextmanager
def counting() -> Iterator[tuple[str, list[object]]]:
    """Give the address of a server that accepts and closes connections, and records their clients."""
    found: list[object] = []

    def accept() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            found.append(address)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", found
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("way", ["a password", "an API key"])
def test_proxy_variables_are_ignored(way: str, tmp_path: Path) -> None:
    """Only the receiver's own settings choose the path to its database."""
    content = fresh_body()
    login, token = ("user:password", "") if way == "a password" else ("", TOKEN.replace(" ", "-"))
    with (
        counting() as (address, connections),
        couchdb(login, token) as server,
        loopback(lambda _: success(access_token=token, expires_in=3600)) as iam,
    ):
        names = ("http_proxy", "https_proxy", "all_proxy")
        environ = {
            "DT_SIGNATURE_SECRET": SECRET,
            **dict.fromkeys((*names, *map(str.upper, names)), address),
            **_way(way, server, iam.url),
        }
        results, lines, _ = call(tmp_path, [delivered(content, "Code Engine")], **environ)
        assert connections == []
        assert [outcome(result) for result in results] == [(200, "stored")], lines
        assert len(iam.calls) == (0 if token == "" else 1)


def _way(way: str, server: CouchDb, iam: str) -> dict[str, str]:
    if way == "a password":
        return {"DT_CLOUDANT": server.url.replace("//", "//user:password@")}
    return {"DT_CLOUDANT": server.url, "DT_CLOUDANT_API_KEY": API_KEY, "DT_IAM_URL": iam}
