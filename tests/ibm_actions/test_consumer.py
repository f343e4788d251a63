"""The consumer of stored events: batches, checkpoints, dead letters, shutdown. PouchDB stands in for Cloudant."""

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from core.environment import Environment
from core.event import Event, parse_stored, rfc3339
from core.log import Log
from core.receiver import DEADLINE
from ibm_actions.consumer import BATCH, MAX_ATTEMPTS, Consumer
from ibm_actions.databases import Databases
from ibm_actions.wiring import build_service
from tests.ibm_actions.cloudant_calls import listed, page
from tests.ibm_actions.conftest import Put
from tests.support.cases import each_table
from tests.support.couchdb import Events
from tests.support.deliveries import body
from tests.support.loopback import loopback
from tests.support.processes import ROOT, Program
from tests.support.proxy import Mode, Proxy

MONTH = timedelta(days=31)
NOW = datetime.now(UTC)
OLD = [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 3, 5)]
# Timestamps of a clock that was never set.
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def event(event_id: str = "", at: datetime = NOW, value: float = 21.5) -> Event:
    """Return a temperature of this time."""
    data = {"temperature": {"value": value, "samples": [{"value": value, "sampleTime": rfc3339(at)}]}}
    content = body(eventId=event_id or os.urandom(8).hex(), timestamp=rfc3339(at), data=data)
    return parse_stored(content, datetime.now(UTC))


class Impatient(threading.Event):
    """To stop a consumer by, and what it waits for in between: a hundredth of the time."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(timeout and timeout / 100)


def wait_until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Following:
    """A consumer on a thread of its own.

    Attributes:
        seen: The ids of the events that were processed, in order.
        log: What it wrote.
        thread: The thread.
        stopping: Set it to end it.
    """

    def __init__(
        self,
        environ: dict[str, str],
        prefix: str,
        name: str = "tests",
        since: datetime = NOW,
        process: Callable[[Event], object] = lambda _: None,
    ) -> None:
        self.seen: list[str | None] = []
        self.log = io.StringIO()
        self.stopping = Impatient()

        def keep(event: Event) -> None:
            process(event)
            self.seen.append(event.event_id)

        cloudant = build_service(Environment(environ))
        consumer = Consumer(cloudant, Databases(cloudant, prefix), name, Log(self.log), keep)
        self.thread = threading.Thread(target=consumer.run, args=(since, self.stopping))
        self.thread.start()

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.log.getvalue().splitlines()]

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def follow(environ: dict[str, str], events: Events) -> Iterator[Callable[..., Following]]:
    """Start a consumer, and end it after the test."""
    with contextlib.ExitStack() as stack:

        def follow(**options: Any) -> Following:
            following = Following(environ, events.prefix, **options)
            stack.callback(following.stop)
            return following

        yield follow


# Each event.


def test_every_event_of_every_database_is_processed_once(put: Put, follow: Any) -> None:
    """Without faults. Events with a missing or odd timestamp are in a separate database."""
    undated = parse_stored(event("undated").body.replace(b'"timestamp"', b'"time"'), NOW)
    put(event("a"), event("b", NOW - 2 * MONTH), event("c", OLD[0]), undated, event("first", FIRST))
    following = follow()
    wait_until(lambda: len(following.seen) >= 5)
    put(event("d"), event("e", NOW - MONTH / 31), event("last", LAST))
    wait_until(lambda: len(following.seen) >= 8)
    time.sleep(0.3)
    assert Counter(following.seen) == Counter(["a", "b", "c", "d", "e", "undated", "first", "last"])
    assert following.messages() == []


def test_events_before_since_are_skipped(put: Put, follow: Any) -> None:
    """In every database; old databases are not read from the beginning."""
    early = [event("early"), event("long ago", OLD[0]), event("first", FIRST)]
    for one in early:
        one.received_at = NOW - MONTH
    put(*early, event("a"), event("too late", OLD[1]), event("last before", OLD[2]))
    following = follow(since=NOW)
    # The last database may hold fallback events.
    wait_until(lambda: len(following.seen) >= 2)
    put(event("late", OLD[1]), event("also first", FIRST))
    wait_until(lambda: len(following.seen) >= 4)
    time.sleep(0.3)
    assert sorted(following.seen, key=str) == ["a", "also first", "last before", "late"]
    assert following.messages() == []


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 50])
def test_more_than_one_batch_is_processed(count: int, put: Put, follow: Any) -> None:
    put(*(event(f"e{index}") for index in range(count)))
    following = follow()
    wait_until(lambda: len(following.seen) >= count)
    time.sleep(0.1)
    assert Counter(following.seen) == Counter(f"e{index}" for index in range(count))


def test_processed_body_is_the_signed_body(put: Put, follow: Any) -> None:
    some = [event("a"), event("b", value=-4)]
    # One of those that Cloudant could not hold as text.
    some.append(parse_stored(event("c").body.replace(b"rom 3", "\ufffe".encode()), NOW))
    put(*some)
    found: list[bytes] = []
    following = follow(process=lambda each: found.append(each.body))
    wait_until(lambda: len(following.seen) >= 3)
    assert sorted(found) == sorted(each.body for each in some)


def test_new_database_is_followed_while_running(put: Put, follow: Any, events: Events) -> None:
    following = follow()
    time.sleep(0.2)
    assert events.databases() == []
    put(event("first"))
    wait_until(lambda: following.seen == ["first"])


def test_documents_that_are_not_events_are_skipped(
    put: Put, follow: Any, events: Events, environ: dict[str, str]
) -> None:
    """A view, a note, a document with an event's key and no body, and one with an invalid time."""
    put(event("a"))
    service = build_service(Environment(environ))
    [database] = events.databases()
    for name, document in {
        "_design/views": {"views": {}},
        "-:note": {"text": "mine"},
        "-:bare": {"key": "k"},
        "-:odd\x9b2J": {"key": {}, "body": "{}", "receivedAt": "12000-01-01T00:00:00Z"},
    }.items():
        path = f"/{database}/{quote(name)}"
        assert service.call("PUT", path, time.monotonic() + DEADLINE, document)[0] == 201
    put(event("b"))
    following = follow()
    wait_until(lambda: len(following.seen) >= 2)
    assert sorted(following.seen) == ["a", "b"]
    assert following.messages() == [f"The document -:{name} is no event." for name in ("bare", "odd\x9b2J")]
    assert "\x9b" not in following.log.getvalue()


@each_table
def test_unparsable_bodies_are_processed(cases: dict[str, bytes], put: Put, follow: Any) -> None:
    put(*(parse_stored(each, datetime.now(UTC), "hs256:1") for each in cases.values()))
    found: list[Event] = []
    following = follow(process=found.append)
    wait_until(lambda: len(found) >= len(cases))
    assert sorted(each.body for each in found) == sorted(cases.values())
    assert {each.signed_by for each in found} == {"hs256:1"}
    assert following.messages() == []


# Its place.


def test_checkpoint_is_stored_under_the_consumer_name(put: Put, follow: Any) -> None:
    """Each of two names sees every event; the same name sees none twice."""
    put(event("a"), event("b"))

    def seen(name: str, count: int) -> list[str | None]:
        following: Following = follow(name=name)
        wait_until(lambda: len(following.seen) >= count)
        time.sleep(0.1)
        following.stop()
        return sorted(following.seen, key=str)

    names = ("a", "a/b", "a?b", "a?ü %")
    assert [seen(name, 2) for name in names] == [["a", "b"]] * 4
    put(event("c"))
    assert [seen(name, 1) for name in names] == [["c"]] * 4


def test_shutdown_waits_for_one_batch_at_most(put: Put, follow: Any) -> None:
    put(*(event(f"e{index}") for index in range(BATCH + 5)))
    begun = threading.Event()
    following = follow(process=lambda _: begun.set())
    assert begun.wait(10)
    following.stop()
    assert len(following.seen) == BATCH


def test_shutdown_finishes_the_current_batch(put: Put, follow: Any) -> None:
    put(*(event(f"e{index}", NOW - (index % 2) * 2 * MONTH) for index in range(10)))
    begun = threading.Event()

    def slow(_: Event) -> None:
        begun.set()
        time.sleep(0.05)

    following = follow(since=NOW - 2 * MONTH, process=slow)
    assert begun.wait(10)
    following.stop()
    assert sorted(following.seen) == [f"e{index}" for index in (1, 3, 5, 7, 9)]
    # And it goes on with the other.
    other = follow(since=NOW - 2 * MONTH)
    wait_until(lambda: len(other.seen) >= 5)
    time.sleep(0.1)
    assert sorted(other.seen) == [f"e{index}" for index in (0, 2, 4, 6, 8)]


# What fails.


def test_failing_event_becomes_a_dead_letter(put: Put, follow: Any) -> None:
    bad = event("bad")
    put(event("a"), bad, event("b"))
    attempts: list[float] = []

    def process(each: Event) -> None:
        if each.event_id == "bad":
            attempts.append(time.monotonic())
            raise ValueError("a secret")

    following = follow(process=process)
    wait_until(lambda: len(following.seen) >= 2 and len(following.messages()) > MAX_ATTEMPTS)
    put(event("c"))
    wait_until(lambda: len(following.seen) >= 3)
    assert sorted(following.seen) == ["a", "b", "c"]
    assert len(attempts) == MAX_ATTEMPTS
    # Each time it waits longer, in a hundredth of seconds here.
    waited = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert all(0.01 * 2**index <= wait < 0.01 * 2**index + 1 for index, wait in enumerate(waited))
    assert following.messages() == [
        *[f"{bad.key} could not be processed: ValueError"] * MAX_ATTEMPTS,
        f"{bad.key} is a dead letter after {MAX_ATTEMPTS} attempts.",
    ]
    assert "a secret" not in following.log.getvalue()
    assert "samples" not in following.log.getvalue()


def test_event_that_fails_once_is_retried(put: Put, follow: Any) -> None:
    put(event("a"))
    faults = [ZeroDivisionError(), KeyError()]

    def process(_: Event) -> None:
        if faults:
            raise faults.pop()

    following = follow(process=process)
    wait_until(lambda: following.seen == ["a"])
    assert len(following.messages()) == 2


def test_shutdown_during_a_retry_leaves_the_event_for_the_next_run(put: Put, follow: Any) -> None:
    put(event("a"))
    failed = threading.Event()

    def fails(_: Event) -> None:
        failed.set()
        raise ValueError

    following = follow(process=fails)
    assert failed.wait(10)
    following.stop()
    assert not any("dead letter" in message for message in following.messages())
    other = follow()
    wait_until(lambda: other.seen == ["a"])


# Cloudant away.


@pytest.mark.parametrize(("mode", "cause"), [(Mode.REFUSE, "ProtocolError"), (Mode.CANNED, "403 forbidden")])
def test_consumer_recovers_after_a_cloudant_outage(mode: Mode, cause: str, put: Put, follow: Any, proxy: Proxy) -> None:
    put(event("a"))
    following = follow()
    wait_until(lambda: following.seen == ["a"])
    proxy.canned = b'HTTP/1.1 403 x\r\nContent-Length: 21\r\n\r\n{"error":"forbidden"}'
    proxy.set(mode)
    wait_until(following.messages)
    proxy.set(Mode.PASS)
    put(event("b"))
    wait_until(lambda: "b" in following.seen)
    # Once more, if its place could not be kept.
    assert following.seen in (["a", "b"], ["a", "a", "b"])
    for message in following.messages():
        assert message.endswith(f" cannot be read ({cause}); trying again.")


def test_database_unreadable_at_the_start_is_read_later(put: Put, follow: Any, proxy: Proxy) -> None:
    """An outage at the start must not skip a database that ``since`` includes."""
    put(event("old", NOW - 4 * MONTH), event("new"))
    proxy.set(Mode.REFUSE)
    following = follow(since=NOW - 4 * MONTH)
    wait_until(lambda: len(following.messages()) > 5)
    proxy.set(Mode.PASS)
    wait_until(lambda: "new" in following.seen)
    wait_until(lambda: "old" in following.seen, 2)


def test_invalid_answer_is_retried() -> None:
    with loopback(listed(lambda _: page(200), "events-2026")) as server:
        following = Following({"DT_CLOUDANT": server.url.replace("//", "//user:password@")}, "events")
        wait_until(following.messages)
        following.stop()
        assert set(following.messages()) == {"events-2026 cannot be read (HTTP 200); trying again."}


def test_failed_checkpoint_processes_the_batch_again(put: Put, follow: Any, proxy: Proxy) -> None:
    put(event("a"), event("b"))

    begin = threading.Event()

    def process(_: Event) -> None:
        assert begin.wait(10)
        if len(following.seen) == 1:
            proxy.set(Mode.REFUSE)

    following = follow(process=process)
    begin.set()
    wait_until(lambda: following.messages())
    proxy.set(Mode.PASS)
    wait_until(lambda: len(following.seen) >= 4)
    time.sleep(0.1)
    assert Counter(following.seen) == {"a": 2, "b": 2}


# The program.

# A changed example, as users write: slow for each event, without a wait between batches.
OWN = """
import os, signal, sys, threading, time
from datetime import UTC, datetime

from core.environment import Environment
from core.log import Log
from ibm_actions.consumer import Consumer
from ibm_actions.wiring import build_databases, build_service

def process(event):
    print("processed", event.event_id, flush=True)
    time.sleep(float(os.environ["SECONDS"]))

cloudant = build_service(Environment(os.environ))
consumer = Consumer(cloudant, build_databases(Environment(os.environ), cloudant), "own", Log(), process)
consumer.run(datetime(2026, 1, 1, tzinfo=UTC), threading.Event())
"""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start a program that follows, and kill it after the test."""
    with contextlib.ExitStack() as stack:

        def start(module: str, **environ: str) -> Program:
            program = Program(module, environ, tmp_path)
            stack.callback(program.close)
            stack.callback(program.stop, signal.SIGKILL)
            return program

        yield start


def test_kill_in_the_middle_of_a_batch_loses_no_event(
    put: Put, programs: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    environ |= {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    put(*(event(f"e{index}") for index in range(20)))

    def processed(program: Program) -> list[str]:
        return [line.split()[1] for line in program.output().splitlines() if line.startswith("processed")]

    first = programs("own", SECONDS="0.05", **environ)
    wait_until(lambda: len(processed(first)) >= 7)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert len(processed(first)) < 20
    second = programs("own", SECONDS="0", **environ)
    wait_until(lambda: len(processed(second)) >= 20)
    # The current batch begins again.
    assert sorted(processed(second)) == sorted(f"e{index}" for index in range(20))
    wait_until(lambda: _place_is_kept(environ, "own"))
    second.stop(signal.SIGKILL)
    put(event("later"))
    third = programs("own", SECONDS="0", **environ)
    wait_until(lambda: processed(third) == ["later"])


def _place_is_kept(environ: dict[str, str], name: str) -> bool:
    path = f"/{environ['DT_DATABASE_PREFIX']}-{NOW:%Y-%m}/_local/consumer-{name}"
    return build_service(Environment(environ)).call("GET", path, time.monotonic() + DEADLINE)[0] == 200


MODULE = "ibm_actions.consumer"


def test_example_prints_readings_and_shuts_down_on_a_signal(
    put: Put, programs: Any, environ: dict[str, str], proxy: Proxy
) -> None:
    put(event("a"), event("b", NOW - MONTH / 31, value=0))
    text = body(eventType="motion", eventId="c", data={"motion": {"state": "HERE"}}, timestamp=rfc3339(NOW))
    put(parse_stored(text.replace(b"HERE", b"\\u009b2J\\u202e\\ud800"), NOW))
    program = programs(MODULE, **environ)
    # No control reaches the terminal, nor half a pair of surrogates.
    device = "emucdd6ef2eu277bo8f52vg"
    expected = {f"{device} temperature 21.5 °C", f"{device} temperature 0 °C", f"{device} state ?2J?\ufffd"}
    wait_until(lambda: len(program.output().splitlines()) >= 3)
    assert {line.rstrip() for line in program.output().splitlines()} == expected
    # It waits for more, for seconds on end, and ends at once.
    time.sleep(0.3)
    started = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - started < 2
    assert {line.rstrip() for line in program.output().splitlines()} == expected


def test_ctrl_c_exits_silently(programs: Any, environ: dict[str, str]) -> None:
    program = programs(MODULE, **environ)
    wait_until(lambda: _is_handling_signals(program))
    assert program.stop(signal.SIGINT) == 0
    assert program.output() == ""


def _is_handling_signals(program: Program) -> bool:
    status = Path(f"/proc/{program.process.pid}/status")
    if not status.exists():
        time.sleep(1.5)
        return True
    [caught] = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_since_and_name_options(put: Put, programs: Any, environ: dict[str, str]) -> None:
    old, new = event("old", value=1), event("new", value=2)
    old.received_at = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    new.received_at = datetime(2026, 2, 1, tzinfo=UTC)
    put(old, new)
    command = [sys.executable, "-W", "error", "-m", MODULE, "--name", "x", "--since", "2026-02"]
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=basics | environ, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        found = program.stdout.readline().split()[2]
        program.terminate()
        assert program.stdout.read() == ""
        assert program.wait(10) == 0
    assert found == "2"
    assert _place_is_kept(environ, "x")


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-W", "error", "-m", MODULE, *arguments]
    return subprocess.run(command, env=basics | environ, capture_output=True, text=True, timeout=20, check=False)


def test_help() -> None:
    found = run("--help")
    assert (found.returncode, found.stderr) == (0, "")
    for part in ("usage: python -m ibm_actions.consumer", "--name", "--since", "DT_CLOUDANT"):
        assert part in found.stdout


@pytest.mark.parametrize(
    ("arguments", "changes", "status", "sentence"),
    [
        ([], {"DT_CLOUDANT": ""}, 1, "DT_CLOUDANT is not set: "),
        ([], {"DT_DATABASE_PREFIX": "A"}, 1, "DT_DATABASE_PREFIX must be of "),
        ([], {"DT_CLOUDANT_API_KEY": "my-key"}, 1, "Set one of DT_TRUSTED_PROFILE, "),
        (["--since", "2026-13"], {}, 2, "--since must be a month, such as 2026-01"),
        (["--since", "yesterday"], {}, 2, "--since must be a month, such as 2026-01"),
        (["--since", "2026-01-01"], {}, 2, "--since must be a month, such as 2026-01"),
        (["device"], {}, 2, "unrecognized arguments: device"),
    ],
    ids=repr,
)
def test_invalid_arguments_and_settings_are_one_sentence(
    arguments: list[str], changes: dict[str, str], status: int, sentence: str, environ: dict[str, str]
) -> None:
    found = run(*arguments, **environ | changes)
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr
    assert (found.returncode, found.stdout) == (status, "")
    assert not any(hidden in found.stderr for hidden in (":password@", "my-key"))
