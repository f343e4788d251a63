"""What only the reader of DynamoDB has: what it reads and says that it costs; and how both readers of AWS fail.

moto stands in for DynamoDB, and a server of the tests for answers that it does not give. moto counts the items that a
call read (ScannedCount); it says nothing of read units.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.client
import pytest

from aws_lambda.dynamodb import DynamoDbStore
from core.event import Event, parse_stored
from readers import ReaderError
from readers.query import Query
from readers.sources import open_reader
from tests.aws_lambda.reading import MINUTE, failure, timed
from tests.cli.stored import dtconn
from tests.support.aws import EVENTS_KEYS, REGION, SEEN_KEYS, create_table, environment, session
from tests.support.deliveries import body
from tests.support.events import DEVICE, NOW, POLLEN, event, hashed, soon
from tests.support.loopback import Reply, fault, loopback, success
from tests.support.moto import MotoServer
from tests.support.processes import ROOT

PRICE = "0.125 US$ a million units in us-east-1 (https://aws.amazon.com/dynamodb/pricing/on-demand/)"


@pytest.fixture
def table(moto: MotoServer, dynamodb: Any) -> str:
    return create_table(moto.client("dynamodb"), EVENTS_KEYS)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of items that DynamoDB read for each call."""
    counts: list[int] = []
    make = botocore.client.BaseClient._make_api_call

    def counting(client: Any, operation: str, parameters: Any) -> Any:
        answer = make(client, operation, parameters)
        if operation in ("Query", "Scan"):
            counts.append(answer["ScannedCount"])
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", counting)
    return counts


def fill(dynamodb: Any, table: str, events: list[Event]) -> None:
    for one in events:
        DynamoDbStore(dynamodb, table, 0).put(one, soon())


@pytest.fixture
def filled(dynamodb: Any, table: str) -> str:
    """A device's event of each minute of 100 minutes, by turns of two types; and as many of another device."""
    types = "temperature", "motion"
    fill(dynamodb, table, [timed(m, types[m % 2], device) for m in range(100) for device in (DEVICE, "another")])
    return f"dynamodb:{table}"


@pytest.mark.parametrize(
    ("query", "most"),
    [
        (Query(device_id=DEVICE, since=NOW - 40 * MINUTE), 0),
        (Query(device_id=DEVICE, since=NOW - 40 * MINUTE, until=NOW - 20 * MINUTE), 0),
        (Query(device_id=DEVICE, limit=20), 1),
        (Query(device_id=DEVICE), 0),
        (Query(device_id="none"), 0),
        (Query(device_id=DEVICE, since=NOW, until=NOW - MINUTE), 0),
    ],
)
def test_query_of_a_device_reads_what_it_returns(filled: str, read: list[int], query: Query, most: int) -> None:
    with open_reader(filled) as reader:
        found = list(reader.events(query))
        assert reader.cost(query) is None
    assert len(found) == sum(query.matches(timed(minutes)) for minutes in range(100)) or len(found) == query.limit
    assert sum(read) - len(found) <= most


def test_limit_with_a_condition_reads_a_few_pages(filled: str, read: list[int]) -> None:
    query = Query(device_id=DEVICE, event_types=["motion"], limit=20)
    with open_reader(filled) as reader:
        assert len(list(reader.events(query))) == 20
        assert reader.cost(query) == (
            "DynamoDB reads and bills also the device's events of other types and labels, some 4 to a read unit, at "
            f"{PRICE}."
        )
    assert sum(read) <= 21 + 42


def test_scan_says_what_it_reads_and_costs(aws: Any) -> None:
    keys = [{"AttributeName": name, "KeyType": kind} for name, kind in EVENTS_KEYS.items()]
    described = success(Table={"KeySchema": keys, "ItemCount": 12_345_678, "TableSizeBytes": 11_000_000_000})
    with loopback(lambda _: described) as server:
        aws(server.url)
        with open_reader("dynamodb:t") as reader:
            sentence = (
                "DynamoDB reads and bills the whole table, 12,345,678 items and 11,000.0 MB by its count of the last "
                f"six hours: 1,342,774 read units or 0.1678 US$, at {PRICE}."
            )
            for query in (Query(limit=1), Query(since=NOW), Query(event_types=["touch"])):
                assert reader.cost(query) == reader.latest_cost(query) == sentence
            assert reader.latest_cost(Query()) == reader.arrived_cost(NOW) == sentence
            assert reader.latest_cost(Query(device_id=DEVICE)) == (
                f"DynamoDB reads and bills all events of the device, some 4 to a read unit, at {PRICE}; a start time "
                "makes them fewer."
            )
            assert reader.cost(Query()) == reader.arrived_cost(None) == sentence


def test_every_page_is_read(dynamodb: Any, table: str, read: list[int]) -> None:
    """A page is 1 MB."""
    content = body(padding="x" * 100_000)
    events = [parse_stored(content.replace(b"cpbg", f"e{number:03}".encode()), NOW) for number in range(25)]
    fill(dynamodb, table, events)
    with open_reader(f"dynamodb:{table}") as reader:
        for query in (Query(), Query(device_id=DEVICE)):
            assert len(list(reader.events(query))) == 25
    assert len([count for count in read if count]) >= 6


def test_events_without_a_time_are_in_their_place(dynamodb: Any, table: str) -> None:
    """They have the time of their arrival, and a sort key that has none."""
    untimed = [
        replace(event(body(eventId=f"u{minutes}", timestamp="yesterday")), received_at=NOW - minutes * MINUTE)
        for minutes in (2, 5)
    ]
    with_time = [timed(minutes) for minutes in (1, 3, 4, 6)]
    other = event(POLLEN)
    fill(dynamodb, table, [*untimed, *with_time, other])
    with open_reader(f"dynamodb:{table}") as reader:
        found = [one.event_id for one in reader.events(Query(device_id=DEVICE))]
        assert found == ["e1", "u2", "e3", "e4", "u5", "e6"]
        query = Query(device_id=DEVICE, since=NOW - 5 * MINUTE, until=NOW - MINUTE)
        assert [one.event_id for one in reader.events(query)] == ["u2", "e3", "e4", "u5"]
        assert {one.event_id for one in reader.events(replace(query, device_id=None))} == {"u2", "e3", "e4", "u5"}
        assert [one.key for one in reader.events(Query(limit=1))] == [hashed(POLLEN)]


def test_table_of_seen_keys_is_not_read(moto: MotoServer, dynamodb: Any) -> None:
    seen = create_table(moto.client("dynamodb"), SEEN_KEYS)
    with pytest.raises(ReaderError, match=f"^The table {seen} is not the receiver's table of events"):
        open_reader(f"dynamodb:{seen}")


# ---- errors ----------------------------------------------------------------------------------------------------------

SOURCES = ["dynamodb:t", "sqs:http://127.0.0.1/1/q"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (fault("AccessDeniedException", 400, "a secret"), "AWS denies reading"),
        (fault("ExpiredTokenException", 400, "a secret"), "AWS denies reading"),
        (fault("UnrecognizedClientException", 400, "a secret"), "AWS denies reading"),
        (Reply(403, b"a secret"), "AWS denies reading"),
        (fault("ValidationException", 400, "a secret"), "AWS cannot read"),
        (fault("a secret"), "AWS cannot read"),
        (fault("ThrottlingException", 400, "a secret"), "AWS cannot read"),
        (Reply(500, b"a secret"), "AWS cannot read"),
        (None, "Cannot reach AWS to read"),
    ],
)
def test_answer_becomes_a_sentence(aws: Any, source: str, reply: Reply | None, sentence: str) -> None:
    with loopback(lambda _: reply) as server:
        aws(server.url)
        began = time.monotonic()
        assert failure(source).startswith(sentence)
        assert "secret" not in failure(source)
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "No AWS credentials: NoCredentialsError. Run"),
        ({"AWS_PROFILE": "none"}, "No AWS credentials: ProfileNotFound. Run"),
        ({"AWS_DEFAULT_REGION": "", "AWS_REGION": ""}, "No AWS region is configured. Set AWS_DEFAULT_REGION"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "Cannot read "),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Cannot reach AWS to read"),
    ],
)
def test_setting_becomes_a_sentence(
    monkeypatch: pytest.MonkeyPatch, source: str, change: dict[str, str], sentence: str
) -> None:
    for name, value in (environment("http://127.0.0.1:1") | change).items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    assert failure(source).startswith(sentence)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for files")
def test_export_of_more_days_than_files_can_be_open(
    moto: MotoServer, dynamodb: Any, table: str, tmp_path: Path
) -> None:
    fill(dynamodb, table, [replace(timed(day), received_at=NOW - 24 * 60 * day * MINUTE) for day in range(150)])
    command = [sys.executable, "-m", "cli", "export", "--from", f"dynamodb:{table}", "--to", str(tmp_path / "lake")]
    limited = [
        "sh",
        "-c",
        'ulimit -n 100; exec "$@"',
        "sh",
        *command,
        "--partition",
        "day",
        "--rows",
        "events",
        "--yes",
    ]
    found = subprocess.run(
        limited, cwd=ROOT, env=os.environ | moto.environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert len(list((tmp_path / "lake").glob("*.csv"))) == 150


def test_tables_of_one_name_in_two_regions_are_two_sources(
    moto: MotoServer, dynamodb: Any, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = session().create_client("dynamodb", region_name="us-west-2", endpoint_url=moto.url)
    create_table(elsewhere, EVENTS_KEYS, table)
    fill(dynamodb, table, [timed(1)])
    fill(elsewhere, table, [replace(timed(2), received_at=NOW - 60 * MINUTE)])
    elsewhere.close()
    for region in (REGION, "us-west-2"):
        monkeypatch.setenv("AWS_REGION", region)
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        found = dtconn("mirror", "--from", f"dynamodb:{table}", "--to", tmp_path / "copy.db", "--yes")
        assert found.stdout == "1 new events copied, 0 were there already.\n"


def test_table_made_again_is_another_source(moto: MotoServer, dynamodb: Any, table: str) -> None:
    names = set()
    for _ in range(2):
        with open_reader(f"dynamodb:{table}") as reader:
            names.add(reader.identity())
        there = moto.client("dynamodb")
        there.delete_table(TableName=table)
        create_table(there, EVENTS_KEYS, table)
    assert len(names) == 2
