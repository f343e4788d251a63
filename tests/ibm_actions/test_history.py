"""A device's history, read back from PouchDB's server, which stands in for Cloudant."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from core.environment import Environment
from core.event import Event, parse_stored, rfc3339
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from core.text import printable
from ibm_actions.cloudant import document_id
from ibm_actions.databases import Databases
from ibm_actions.history import History
from ibm_actions.wiring import build_databases, build_service
from tests.ibm_actions.cloudant_calls import listed, page
from tests.support.cases import each_table
from tests.support.couchdb import Events
from tests.support.deliveries import body
from tests.support.loopback import loopback, success
from tests.support.processes import ROOT
from tests.support.proxy import Mode, Proxy

DEVICE, OTHER = "emucdd6ef2eu277bo8f52vg", "emucdd6ef2eu277bo8f52v"
LONG_AGO, LONG_AFTER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def event(
    at: str | datetime, event_id: str = "", device: str = DEVICE, kind: str = "touch", value: float | None = None
) -> Event:
    """Return an event of this time."""
    at = rfc3339(at) if isinstance(at, datetime) else at
    data = {"value": value, "samples": [{"value": value, "sampleTime": at}], "updateTime": at}
    content = body(
        eventId=event_id or os.urandom(8).hex(), eventType=kind, timestamp=at, targetName=None, data={kind: data}
    )
    return parse_stored(content.replace(DEVICE.encode(), device.encode()), datetime.now(UTC))


@pytest.fixture
def history(environ: dict[str, str]) -> History:
    cloudant = build_service(Environment(environ))
    return History(cloudant, build_databases(Environment(environ), cloudant))


def ids(some: Any) -> list[str | None]:
    return [each.event_id for each in some]


# History.


def test_device_history_is_ordered_across_months(put: Any, history: History, events: Events) -> None:
    times = [
        *("2025-11-30T23:59:59.999999Z", "2025-12-01T00:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00.000001Z"),
        *("2026-03-15T12:00:00Z", "2026-03-15T12:00:00.1Z", "2026-03-15T12:00:00.100001Z", "2026-03-15T13:00:00+00:30"),
    ]
    put(*(event(at, f"e{index}") for index, at in reversed([*enumerate(times)])))
    # Those of the others begin with the same letters, and go on otherwise.
    put(*(event(at, "other", device) for at in times for device in (OTHER, f"{DEVICE}0", f"{DEVICE}_", "-")))
    assert ids(history.between(DEVICE, LONG_AGO, LONG_AFTER)) == [f"e{index}" for index in range(8)]
    assert ids(history.between(OTHER, LONG_AGO, LONG_AFTER)) == ["other"] * 8


def test_history_bounds_since_and_until(put: Any, history: History, events: Events) -> None:
    first, last = datetime(2026, 1, 31, 23, 59, 59, 999_999, UTC), datetime(2026, 3, 1, tzinfo=UTC)
    put(event(first, "first"), event(first, "same", kind="motion"), event(last, "last"))

    def between(since: datetime, until: datetime) -> list[str | None]:
        return ids(history.between(DEVICE, since, until))

    assert between(first, last) == ["first", "same"]
    assert between(first, last + MICROSECOND) == ["first", "same", "last"]
    assert between(first + MICROSECOND, last + MICROSECOND) == ["last"]
    assert between(first + MICROSECOND, last) == []
    assert between(first, first) == []
    assert between(last, first) == []


def test_empty_history(put: Any, history: History, events: Events) -> None:
    assert ids(history.between(DEVICE, LONG_AGO, LONG_AFTER)) == []
    assert history.newest(DEVICE) is None
    put(event(datetime.now(UTC), device=OTHER))
    assert ids(history.between(DEVICE, LONG_AGO, LONG_AFTER)) == []
    assert history.newest(DEVICE) is None


@pytest.mark.parametrize("count", [200, 201, 400])
def test_history_of_several_pages(count: int, put: Any, history: History, events: Events) -> None:
    """A page has 200 documents. If the last page is full, the next is empty."""
    begin = datetime(2026, 2, 1, tzinfo=UTC)
    put(*(event(begin + index * timedelta(seconds=1), f"e{index:03}") for index in range(count)))
    put(event(begin + timedelta(days=30), "next month"))
    expected = [*(f"e{index:03}" for index in range(count)), "next month"]
    assert ids(history.between(DEVICE, LONG_AGO, LONG_AFTER)) == expected
    since, until = begin + timedelta(seconds=1), begin + timedelta(seconds=count - 1)
    assert ids(history.between(DEVICE, since, until)) == expected[1 : count - 1]


def test_history_has_the_signed_bodies(put: Any, history: History, events: Events) -> None:
    some = [event("2026-02-01T00:00:00Z", "a"), event("2026-02-01T00:00:01Z", "b", kind="temperature", value=21.5)]
    # One of those that Cloudant could not hold as text.
    some.append(
        parse_stored(some[0].body.replace(b'"a"', b'"c"').replace(b"rom 3", "\ufffe".encode()), datetime.now(UTC))
    )
    put(*some)
    found = [*history.between(DEVICE, LONG_AGO, LONG_AFTER)]
    assert sorted(each.body for each in found) == sorted(each.body for each in some)
    assert {each.key for each in found} == {each.key for each in some}
    assert all(abs((each.received_at - datetime.now(UTC)).total_seconds()) < 60 for each in found)


# The newest.


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def test_newest_event_is_by_timestamp(put: Any, history: History, events: Events) -> None:
    begin = ago(0).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    put(event(begin + MICROSECOND, "newest"))
    put(event(begin, "older"), event(ago(40), "last month"), event(ago(0), "other", OTHER))
    found = history.newest(DEVICE)
    assert found
    assert found.event_id == "newest"


@pytest.mark.parametrize("days", [-0.9, 0, 45, 200, 364])
def test_newest_event_may_be_months_old_or_a_day_ahead(days: float, put: Any, history: History, events: Events) -> None:
    put(event(ago(days + 0.01), "older"), event(ago(days), "newest"), event(ago(900), "ancient"))
    found = history.newest(DEVICE)
    assert found
    assert found.event_id == "newest"


def test_newest_event_is_searched_for_13_months(put: Any, history: History, events: Events) -> None:
    put(event(ago(31 * 14), "old"))
    assert history.newest(DEVICE) is None


@pytest.mark.parametrize("newer", [0, 199, 200, 400])
def test_newest_event_of_a_type_on_a_later_page(newer: int, put: Any, history: History, events: Events) -> None:
    begin = datetime.now(UTC)
    put(
        event(begin - timedelta(days=32), "last month", kind="temperature", value=1),
        event(begin, "older", kind="temperature", value=2),
        event(begin + MICROSECOND, "newest", kind="temperature", value=3),
        *(event(begin + index * MICROSECOND) for index in range(2, 2 + newer)),
    )
    found = history.newest(DEVICE, "temperature")
    assert found
    assert found.event_id == "newest"
    # The search for a missing event ends.
    assert history.newest(DEVICE, "humidity") is None


def test_newest_event_of_a_type_in_an_earlier_month(put: Any, history: History, events: Events) -> None:
    put(event(ago(0)), event(ago(100), "found", kind="temperature", value=1))
    found = history.newest(DEVICE, "temperature")
    assert found
    assert found.event_id == "found"


@pytest.mark.parametrize(
    ("now", "at"),
    [
        # A device's clock may be a little ahead, at the end of a month, too.
        ("2026-10-31T23:30:00Z", "2026-11-01T00:00:10Z"),
        ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
        # Twelve months are a year, whatever their lengths.
        ("2026-03-31T12:00:00Z", "2025-03-31T12:00:00Z"),
        ("2025-02-28T12:00:00Z", "2024-02-28T12:00:00Z"),
    ],
)
def test_bounds_of_the_months_searched(
    now: str, at: str, put: Any, history: History, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromisoformat(now).astimezone(tz)

    put(event(at, "found"))
    monkeypatch.setattr("ibm_actions.history.datetime", Clock)
    found = history.newest(DEVICE)
    assert found
    assert found.event_id == "found"


def test_queries_read_one_partition_with_a_limit() -> None:
    """Other queries would also read, and cost, the events of other devices."""
    rows = {"rows": [{"doc": {"body": event(LONG_AGO).body.decode(), "receivedAt": rfc3339(LONG_AGO)}, "id": "x"}]}
    with loopback(listed(lambda _: success(**rows), "events-2026")) as server:
        cloudant = build_service(Environment({"DT_CLOUDANT": server.url.replace("//", "//user:password@")}))
        history = History(cloudant, Databases(cloudant, "events"))
        assert history.newest(DEVICE)
        assert len([*history.between(DEVICE, NOVEMBER, NOVEMBER)]) == 1
        one, other = [call.path for call in server.calls if not call.path.startswith("/_all_dbs?")]
    assert one.partition("?")[0] == other.partition("?")[0] == f"/events-2026/_partition/{DEVICE}/_all_docs"
    assert "limit=1&" in f"{one}&"
    assert "limit=200&" in f"{other}&"


# Cloudant away.


def test_cloudant_outage_is_reported(proxy: Proxy, history: History, events: Events) -> None:
    proxy.set(Mode.CANNED)
    proxy.canned = b'HTTP/1.1 403 x\r\nContent-Length: 21\r\n\r\n{"error":"forbidden"}'
    with pytest.raises(StoreUnavailableError, match=r"^403 forbidden$"):
        history.newest(DEVICE)
    with pytest.raises(StoreUnavailableError, match=r"^403 forbidden$"):
        [*history.between(DEVICE, LONG_AGO, LONG_AFTER)]


def test_invalid_answer_is_not_an_empty_history() -> None:
    with loopback(listed(lambda _: page(200), "events-2026")) as server:
        cloudant = build_service(Environment({"DT_CLOUDANT": server.url.replace("//", "//user:password@")}))
        with pytest.raises(StoreUnavailableError, match=r"^HTTP 200$"):
            [*History(cloudant, Databases(cloudant, "events")).everything(DEVICE)]


# The program.


def run(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    # Where a desk is, is not where a device's time is from.
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TZ": "Asia/Tokyo"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "ibm_actions.history", *arguments],
        cwd=folder,
        env=basics | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help(tmp_path: Path) -> None:
    found = run(tmp_path, "--help")
    assert (found.returncode, found.stderr) == (0, "")
    for part in ("usage: python -m ibm_actions.history", "--newest", "--type", "--since", "--until", "DT_CLOUDANT"):
        assert part in found.stdout


def test_prints_one_reading_a_line(environ: dict[str, str], put: Any, tmp_path: Path) -> None:
    put(
        event("2026-01-31T23:00:00Z", kind="temperature", value=20),
        event("2026-02-01T00:00:00Z", kind="temperature", value=21.5),
        event("2026-02-01T00:00:00.5Z", kind="touch"),
        event("2026-02-02T00:00:00Z", kind="temperature", value=0),
        event("2026-02-02T00:00:01Z", device=OTHER, kind="temperature", value=99),
    )
    lines = ["2026-01-31T23:00:00.000000Z temperature 20 °C", "2026-02-01T00:00:00.000000Z temperature 21.5 °C"]
    lines.append("2026-02-02T00:00:00.000000Z temperature 0 °C")

    def printed(*arguments: str) -> list[str]:
        found = run(tmp_path, DEVICE, *arguments, **environ)
        assert (found.returncode, found.stderr) == (0, "")
        # The time is the one that the device gave, with as many digits.
        return [line.rstrip() for line in found.stdout.splitlines()]

    def times(some: list[str]) -> list[str]:
        return [line.split()[0][:19] + "|" + " ".join(line.split()[1:]) for line in some]

    temperatures = printed("--type", "temperature", "--since", "2026-01-01", "--until", "2026-03-01")
    assert times(temperatures) == times(lines)
    everything = printed("--since", "2026-01-01", "--until", "2026-03-01")
    assert [line for line in everything if "touch" not in line] == temperatures
    assert len(everything) == 4
    # Bounds of another zone, and of none, which is UTC.
    assert times(printed("--since", "2026-02-01T01:00+01:00", "--until", "2026-02-01T00:00:00.000001")) == times(
        lines[1:2]
    )
    assert times(printed("--since", "2026-02-01T00:00:01+00:00", "--until", "2026-02-03")) == times(lines[2:])
    # Nothing in the last seven days, and nothing of this type.
    assert printed() == []
    assert printed("--type", "co2", "--since", "2026-01-01", "--until", "2026-03-01") == []


def test_prints_the_newest_event(environ: dict[str, str], put: Any, tmp_path: Path) -> None:
    put(event(ago(1), kind="temperature", value=1), event(ago(40), kind="temperature", value=2), event(ago(0.5)))
    newest_ = run(tmp_path, DEVICE, "--newest", **environ)
    assert newest_.stdout.split()[1:2] == ["touch"]
    typed = run(tmp_path, DEVICE, "--newest", "--type", "temperature", **environ)
    assert typed.stdout.split()[1:] == ["temperature", "1", "°C"]
    lately = run(tmp_path, DEVICE, **environ)
    assert [line.split()[1] for line in lately.stdout.splitlines()] == ["temperature", "touch"]
    nobody = run(tmp_path, OTHER, "--newest", **environ)
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", "")


def test_control_characters_are_printed_as_question_marks(environ: dict[str, str], put: Any, tmp_path: Path) -> None:
    data = {"state": "\x1b[2J\x9b2J\u202eHALF", "updateTime": "\x07now"}
    content = body(eventId="e", eventType="motion", data={"motion": data}, timestamp=rfc3339(ago(1)))
    put(parse_stored(content.replace(b"HALF", b"\\ud800"), NOVEMBER))
    found = run(tmp_path, DEVICE, **environ)
    assert (found.returncode, found.stderr) == (0, "")
    # An invalid time is None, and a lone surrogate a replacement character.
    assert found.stdout.split()[1:] == ["state", "?[2J?2J?\ufffd"]


@each_table
def test_unparsable_bodies_are_listed(
    cases: dict[str, bytes], environ: dict[str, str], put: Any, tmp_path: Path, history: History
) -> None:
    some = [parse_stored(content, datetime.now(UTC), "hs256:1") for content in cases.values()]
    put(*some)
    devices = {document_id(each).partition(":")[0] for each in some}
    listed = [each for device in devices for each in history.everything(device)]
    assert sorted(each.body for each in listed) == sorted(cases.values())
    assert {each.signed_by for each in listed} == {"hs256:1"}
    device = next(each.device_id for each in some if each.device_id)
    for arguments in (["--all"], ["--newest"], ["--since", "0001-01-01"], ["--until", "0001-01-02"]):
        found = run(tmp_path, str(device), *arguments, **environ)
        assert (found.returncode, found.stderr) == (0, "")
        assert printable(found.stdout.replace("\n", " ")) == found.stdout.replace("\n", " ")


def test_documents_that_are_not_events_are_skipped(
    environ: dict[str, str], put: Any, history: History, events: Events, tmp_path: Path
) -> None:
    put(event(ago(1), "a", kind="temperature", value=1), event(ago(0.9), "b", kind="temperature", value=2))
    database = events.databases()[-1]
    cloudant = build_service(Environment(environ))
    for name, document in {
        f"{DEVICE}:{rfc3339(ago(0.95))}_bare": {},
        f"{DEVICE}:{rfc3339(ago(0.8))}_odd\x9b": {"body": "{}", "receivedAt": 7},
    }.items():
        path = f"/{database}/{quote(name)}"
        assert cloudant.call("PUT", path, time.monotonic() + DEADLINE, document)[0] == 201
    assert ids(history.between(DEVICE, ago(7), ago(0))) == ["a", "b"]
    newest = history.newest(DEVICE)
    assert newest
    assert newest.event_id == "b"
    found = run(tmp_path, DEVICE, **environ)
    assert [line.split()[2] for line in found.stdout.splitlines()] == ["1", "2"]
    first, second = found.stderr.splitlines()
    assert first.endswith("_bare is not an event.")
    assert second.endswith("_odd? is not an event.")


@pytest.mark.parametrize(
    ("arguments", "changes", "status", "sentence"),
    [
        ([DEVICE], {"DT_CLOUDANT": ""}, 1, "DT_CLOUDANT is not set: "),
        ([DEVICE], {"DT_DATABASE_PREFIX": "A"}, 1, "DT_DATABASE_PREFIX must have only "),
        ([DEVICE], {"DT_CLOUDANT": "http://user:password@127.0.0.1:9"}, 1, "Cloudant did not answer: "),
        ([DEVICE, "--newest"], {"DT_CLOUDANT": "http://user:password@127.0.0.1:9"}, 1, "Is DT_CLOUDANT right"),
        ([], {}, 2, "the following arguments are required: device"),
        ([DEVICE, "--since", "yesterday"], {}, 2, "argument --since: "),
        ([DEVICE, "--until", "2026-13-01"], {}, 2, "argument --until: "),
        ([DEVICE, "--since", "0001-01-01T00:00+14:00"], {}, 2, "argument --since: "),
    ],
    ids=repr,
)
def test_invalid_arguments_and_settings_are_one_sentence(
    arguments: list[str], changes: dict[str, str], status: int, sentence: str, environ: dict[str, str], tmp_path: Path
) -> None:
    found = run(tmp_path, *arguments, **environ | changes)
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr
    assert (found.returncode, found.stdout) == (status, "")
    assert ":password@" not in found.stderr
