"""The PouchDB server in Cloudant's place, against CouchDB's documentation."""

import base64
import http.client
import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.couchdb import CouchDb, Events, couchdb

Answer = tuple[int, Any]
Ask = Callable[..., Answer]
HIGH = quote("\ufff0")


def ask(server: CouchDb, method: str, path: str, document: Any = None, authorization: str = "") -> Answer:
    """Make one request on a new connection, and return its status and document."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
    try:
        connection.request(method, path, None if document is None else json.dumps(document), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def failed(answer: Answer) -> Answer:
    """Return the status with CouchDB's error word, without its reason."""
    assert set(answer[1]) == {"error", "reason"}
    return answer[0], answer[1]["error"]


def ids(answer: Answer) -> list[str]:
    """Return the ids of the rows that came back."""
    assert answer[0] == 200
    return [row["id"] for row in answer[1]["rows" if "rows" in answer[1] else "results"]]


@pytest.fixture
def at(couchdb: CouchDb) -> Ask:
    return lambda method, path, document=None: ask(couchdb, method, path, document)


@pytest.fixture
def database(at: Ask) -> str:
    """The path of a new partitioned database."""
    path = f"/t{uuid.uuid4().hex}-2026-11"
    assert at("PUT", f"{path}?partitioned=true") == (201, {"ok": True})
    return path


def test_database_is_created_once(at: Ask, database: str) -> None:
    assert failed(at("PUT", f"{database}?partitioned=true")) == (412, "file_exists")
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: at("PUT", f"{database}-at-once?partitioned=true")[0], range(8)))
    assert sorted(made) == [201] + [412] * 7
    for name in ("/Capital", "/2026-11", "/_mine"):
        assert failed(at("PUT", name)) == (400, "illegal_database_name")


def test_deleted_database_can_be_created_again(at: Ask, database: str) -> None:
    assert at("PUT", f"{database}/d:1", {})[0] == 201
    assert ids(at("GET", f"{database}/_changes")) == ["d:1"]
    assert at("DELETE", database)[0] == 200
    assert failed(at("GET", f"{database}/d:1")) == (404, "not_found")
    assert at("PUT", database)[0] == 201
    assert ids(at("GET", f"{database}/_changes")) == []
    # This time without partitions.
    assert failed(at("GET", f"{database}/_partition/d/_all_docs")) == (400, "bad_request")
    assert at("PUT", f"{database}/d", {})[0] == 201


# Characters that mean something in an address, or in JSON, or are more than one byte.
@pytest.mark.parametrize("name", ["d:2026-11-21T10:00:00Z_key", 'd:a/b?c#d%e+f g"h\\iåü', "-:h", "d:::"])
def test_document_is_put_once(at: Ask, database: str, name: str) -> None:
    document = {"body": '{"a": "\\u00e5"} å\t', "parsed": True, "none": None, "nested": {"list": [1, 2.5]}}
    path = f"{database}/{quote(name, safe='')}"
    status, answer = at("PUT", path, document)
    assert (status, answer) == (201, {"ok": True, "id": name, "rev": answer["rev"]})
    assert failed(at("PUT", path, document)) == (409, "conflict")
    assert failed(at("PUT", path, {"other": 1})) == (409, "conflict")
    assert at("GET", path) == (200, {**document, "_id": name, "_rev": answer["rev"]})


def test_one_of_twenty_concurrent_puts_succeeds(at: Ask, database: str) -> None:
    with ThreadPoolExecutor(20) as threads:
        put = list(threads.map(lambda number: at("PUT", f"{database}/d:1", {"number": number}), range(20)))
    assert sorted(status for status, _ in put) == [201] + [409] * 19
    (number,) = (number for number, (status, _) in enumerate(put) if status == 201)
    assert at("GET", f"{database}/d:1")[1]["number"] == number


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/d:1"),
        ("GET", "/d:1"),
        ("GET", "/_partition/d/_all_docs"),
        ("GET", "/_all_docs"),
        ("GET", "/_changes?since=0"),
        ("GET", "/_local/name"),
        ("PUT", "/_local/name"),
        ("GET", ""),
    ],
)
def test_missing_database_is_not_found(at: Ask, method: str, path: str) -> None:
    document: Any = {} if method == "PUT" else None
    assert failed(at(method, f"/t{uuid.uuid4().hex}{path}", document)) == (404, "not_found")


def test_missing_document_is_not_found(at: Ask, database: str) -> None:
    assert failed(at("GET", f"{database}/d:1")) == (404, "not_found")


@pytest.mark.parametrize("name", ["d", "d:", ":d", "h123"])
def test_document_id_needs_a_partition(at: Ask, database: str, name: str) -> None:
    assert failed(at("PUT", f"{database}/{name}", {})) == (400, "illegal_docid")
    assert ids(at("GET", f"{database}/_all_docs")) == []


@pytest.fixture
def filled(at: Ask, database: str) -> str:
    """A database of three devices, where one id is a prefix of the others."""
    for name in ("d:2", "d-:1", "da:1", "d:1", "c:9", "d:3", "d::", "d:\uffee"):
        assert at("PUT", f"{database}/{quote(name)}", {"name": name})[0] == 201
    return database


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["d:1", "d:2", "d:3", "d::", "d:\uffee"]),
        ("limit=2", ["d:1", "d:2"]),
        ("limit=2&skip=1", ["d:2", "d:3"]),
        ("descending=true", ["d:\uffee", "d::", "d:3", "d:2", "d:1"]),
        ("descending=true&limit=1", ["d:\uffee"]),
        ('start_key="d:2"&end_key="d:3"', ["d:2", "d:3"]),
        ('startkey="d:2"&endkey="d:3"', ["d:2", "d:3"]),
        ('start_key="d:2"&end_key="d:3"&inclusive_end=false', ["d:2"]),
        ('start_key="d:2"', ["d:2", "d:3", "d::", "d:\uffee"]),
        ('end_key="d:2"', ["d:1", "d:2"]),
        ('descending=true&start_key="d:2"', ["d:2", "d:1"]),
        ('descending=true&end_key="d:::"', ["d:\uffee"]),
        ('descending=true&start_key="d:3"&end_key="d:2"', ["d:3", "d:2"]),
        # No key leads out of the partition.
        ('start_key="a"&end_key="z"', ["d:1", "d:2", "d:3", "d::", "d:\uffee"]),
        ('descending=true&start_key="z"&end_key="a"', ["d:\uffee", "d::", "d:3", "d:2", "d:1"]),
        ('start_key="e"', []),
    ],
)
def test_partition_is_listed_in_order_within_bounds(at: Ask, filled: str, query: str, expected: list[str]) -> None:
    answer = at("GET", f"{filled}/_partition/d/_all_docs?{quote(query, safe='=&')}")
    assert ids(answer) == expected
    assert all("doc" not in row for row in answer[1]["rows"])
    answer = at("GET", f"{filled}/_partition/d/_all_docs?include_docs=true&{quote(query, safe='=&')}")
    assert [row["doc"]["name"] for row in answer[1]["rows"]] == expected


def test_unknown_partition_is_empty(at: Ask, filled: str) -> None:
    assert ids(at("GET", f"{filled}/_partition/x/_all_docs?descending=true&limit=1&include_docs=true")) == []


def test_key_parameter_is_json(at: Ask, filled: str) -> None:
    assert failed(at("GET", f"{filled}/_partition/d/_all_docs?start_key=d:2"))[0] == 400


def test_all_docs_lists_all_partitions(at: Ask, filled: str) -> None:
    found = ids(at("GET", f"{filled}/_all_docs"))
    assert found == ["c:9", "d-:1", "d:1", "d:2", "d:3", "d::", "d:\uffee", "da:1"]
    for spelling in ("start_key=%22d:3%22&end_key=%22d::%22", "startkey=%22d:3%22&endkey=%22d::%22"):
        assert ids(at("GET", f"{filled}/_all_docs?{spelling}")) == ["d:3", "d::"]


def test_changes_feed_is_paged(at: Ask, filled: str) -> None:
    pages, rows, since = [], [], "0"
    while True:
        status, page = at("GET", f"{filled}/_changes?since={since}&limit=3&include_docs=true")
        assert status == 200
        # A place in the sequence means something to the server only, so it is no number.
        assert all(isinstance(row["seq"], str) and "-" in row["seq"] for row in page["results"])
        assert page["last_seq"] == (page["results"][-1]["seq"] if page["results"] else since)
        pages.append((len(page["results"]), page["pending"]))
        rows += page["results"]
        if not page["results"]:
            break
        since = page["last_seq"]
    assert pages == [(3, 5), (3, 2), (2, 0), (0, 0)]
    assert sorted(row["doc"]["name"] for row in rows) == ids(at("GET", f"{filled}/_all_docs"))
    assert all(row["id"] == row["doc"]["_id"] and row["changes"] == [{"rev": row["doc"]["_rev"]}] for row in rows)
    assert at("PUT", f"{filled}/d:4", {})[0] == 201
    answer = at("GET", f"{filled}/_changes?since={since}")
    assert ids(answer) == ["d:4"]
    assert "doc" not in answer[1]["results"][0]
    assert ids(at("GET", f"{filled}/_changes?since=now")) == []
    assert len(ids(at("GET", f"{filled}/_changes"))) == 9


def test_invalid_since_is_refused(at: Ask, filled: str) -> None:
    assert failed(at("GET", f"{filled}/_changes?since=nonsense")) == (400, "bad_request")


def test_local_document_is_updated_by_revision_and_not_listed(at: Ask, database: str) -> None:
    path = f"{database}/_local/reader"
    assert failed(at("GET", path)) == (404, "not_found")
    assert at("PUT", path, {"since": "0"}) == (201, {"ok": True, "id": "_local/reader", "rev": "0-1"})
    assert failed(at("PUT", path, {"since": "5-x"})) == (409, "conflict")
    assert at("PUT", path, {"since": "5-x", "_rev": "0-1"})[0] == 201
    assert at("GET", path) == (200, {"_id": "_local/reader", "_rev": "0-2", "since": "5-x"})
    assert ids(at("GET", f"{database}/_all_docs")) == ids(at("GET", f"{database}/_changes")) == []


def test_databases_are_listed_in_order_within_bounds(at: Ask) -> None:
    prefix = f"t{uuid.uuid4().hex}"
    names = [f"{prefix}-2026-10", f"{prefix}-2026-11", f"{prefix}-2026-12"]
    for name in (names[1], f"{prefix}s-2026-11", names[2], names[0]):
        assert at("PUT", f"/{name}?partitioned=true")[0] == 201
    within = f'start_key="{prefix}-"&end_key="{prefix}-{HIGH}"'.replace('"', "%22")
    assert at("GET", f"/_all_dbs?{within}") == (200, names)
    assert at("GET", f"/_all_dbs?{within.replace('_key', 'key')}") == (200, names)
    assert at("GET", f"/_all_dbs?{within}&limit=1&skip=1") == (200, names[1:2])
    swapped = f'descending=true&start_key="{prefix}-{HIGH}"&end_key="{names[1]}"'.replace('"', "%22")
    assert at("GET", f"/_all_dbs?{swapped}") == (200, [names[2], names[1]])
    status, everything = at("GET", "/_all_dbs")
    assert status == 200
    assert set(names) < set(everything)
    assert everything == sorted(everything)


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def test_invalid_login_is_401() -> None:
    with couchdb("user:pass:word", "token") as server:
        for wrong in ("", basic("user:other"), basic("other:pass:word"), "Bearer other", "Bearer ", "token"):
            for method, path in (("PUT", "/db"), ("GET", "/_all_dbs"), ("PUT", "/db/d:1"), ("GET", "/")):
                document: Any = {} if method == "PUT" else None
                assert failed(ask(server, method, path, document, wrong)) == (401, "unauthorized")
        assert ask(server, "PUT", "/db?partitioned=true", None, basic("user:pass:word"))[0] == 201
        assert ask(server, "PUT", "/db/d:1", {}, "Bearer token")[0] == 201
        assert ask(server, "GET", "/_all_dbs", None, "Bearer token") == (200, ["db"])
    with couchdb(token="token") as server:
        assert failed(ask(server, "GET", "/_all_dbs", None, basic(":"))) == (401, "unauthorized")
        assert ask(server, "GET", "/_all_dbs", None, "Bearer token") == (200, [])


def test_data_survives_a_kill() -> None:
    with couchdb() as server:
        for month in range(1, 10):
            name = f"/events-2026-0{month}"
            assert ask(server, "PUT", f"{name}?partitioned=true")[0] == 201
            if month % 2:
                assert ask(server, "PUT", f"{name}/d:1", {"month": month})[0] == 201
                assert ask(server, "PUT", f"{name}/_local/reader", {"month": month})[0] == 201
            server.kill()
            with pytest.raises(ConnectionRefusedError):
                ask(server, "GET", "/")
            server.start()
            assert failed(ask(server, "PUT", f"{name}?partitioned=true")) == (412, "file_exists")
            assert failed(ask(server, "PUT", f"{name}/d", {})) == (400, "illegal_docid")
        assert ask(server, "GET", "/_all_dbs") == (200, [f"events-2026-0{month}" for month in range(1, 10)])
        for month in range(1, 10):
            name = f"/events-2026-0{month}"
            expected = ["d:1"] if month % 2 else []
            assert ids(ask(server, "GET", f"{name}/_partition/d/_all_docs")) == expected
            assert ids(ask(server, "GET", f"{name}/_changes?since=0")) == expected
            if month % 2:
                assert failed(ask(server, "PUT", f"{name}/d:1", {})) == (409, "conflict")
                assert ask(server, "GET", f"{name}/_local/reader")[1]["month"] == month


def test_frozen_peer_answers_once_thawed() -> None:
    with couchdb() as server:
        assert ask(server, "PUT", "/db?partitioned=true")[0] == 201
        server.freeze()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.5)
        connection.request("PUT", "/db/d:1", "{}", {"Content-Type": "application/json"})
        with pytest.raises(TimeoutError):
            connection.getresponse()
        server.thaw()
        # The one that timed out came first.
        assert failed(ask(server, "PUT", "/db/d:1", {})) == (409, "conflict")
        connection.close()


@pytest.mark.parametrize("login", ["", "user:pass:word"])
def test_events_can_be_read_with_ibms_sdk(login: str) -> None:
    with couchdb(login) as server:
        events, other = Events(server), Events(server)
        assert (events.databases(), events.documents()) == ([], [])
        authorization = basic(login) if login else ""

        def put(path: str, document: Any = None) -> None:
            assert ask(server, "PUT", path, document, authorization)[0] == 201

        for database in (f"{events.prefix}-2026-12", f"{events.prefix}-2026-11", f"{other.prefix}-2026-11"):
            put(f"/{database}?partitioned=true")
            put(f"/{database}/_design/views", {"views": {}})
        text = {"receivedAt": "2026-11-03", "body": 'å"\n'}
        put(f"/{events.prefix}-2026-11/d:3", text)
        put(f"/{events.prefix}-2026-11/d:1", {"receivedAt": "2026-11-01", "body": "/wA=", "encoding": "base64"})
        put(f"/{events.prefix}-2026-12/d:2", {"receivedAt": "2026-11-02", "body": "{}", "parsed": True})
        put(f"/{other.prefix}-2026-11/d:4", {"receivedAt": "2026-11-04", "body": ""})

        assert events.databases() == [f"{events.prefix}-2026-11", f"{events.prefix}-2026-12"]
        assert [(each["_id"], each["body"]) for each in events.documents()] == [
            ("d:1", b"\xff\0"),
            ("d:2", b"{}"),
            ("d:3", 'å"\n'.encode()),
        ]
        assert events.documents()[1]["parsed"] is True
        assert [each["body"] for each in other.documents()] == [b""]
