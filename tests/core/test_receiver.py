"""The decision table without any platform: each row by both receivers. tests/contract runs it through each adapter."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from core.event import Event
from core.http import Request, Response
from core.log import Log
from core.receiver import DEADLINE, MAX_BODY, AsyncReceiver, Receiver
from core.settings import Settings, SettingsError
from core.signature import KeysNeeded, KeysUnavailable
from core.store import Outcome, StoreUnavailable
from tests.support.deliveries import ORGANIZATION, SECRET, body, delivery
from tests.support.es256 import JWKS, es256

HS256 = {"DT_SIGNATURE_SECRET": SECRET}


class Memory:
    """A store for a moment. ``error`` is raised instead of storing."""

    def __init__(self, error: BaseException | None = None, note: str | None = None) -> None:
        self.events: dict[str, Event] = {}
        self.deadlines: list[float] = []
        self._error = error
        self._note = note

    def put(self, event: Event, deadline: float) -> Outcome:
        self.deadlines.append(deadline - time.monotonic())
        event.note = self._note
        if self._error:
            raise self._error
        if event.key in self.events:
            return Outcome.DUPLICATE
        self.events[event.key] = event
        return Outcome.STORED


class AsyncMemory:
    """The same, for an event loop."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def put(self, event: Event, deadline: float) -> Outcome:
        await asyncio.sleep(0)
        return self._memory.put(event, deadline)


class Bench:
    """One receiver, its memory and its log."""

    def __init__(self, kind: str, settings: Settings | SettingsError, memory: Memory) -> None:
        self._stream = io.StringIO()
        self.memory = memory
        log = Log(self._stream)
        self.handle: Callable[[Request], Response]
        if kind == "sync":
            self.receiver: Receiver | AsyncReceiver = Receiver(settings, memory, log)
            self.handle = self.receiver.handle
        else:
            receiver = self.receiver = AsyncReceiver(settings, AsyncMemory(memory), log)
            self.handle = lambda request: asyncio.run(receiver.handle(request))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Callable[..., Bench]:
    def make(memory: Memory | None = None, **environ: str) -> Bench:
        return Bench(request.param, Settings.load(environ or HS256), memory or Memory())

    return make


Make = Callable[..., Bench]


def test_stored_before_answered(make: Make) -> None:
    """Promise 1."""
    bench = make()
    response = bench.handle(delivery())
    assert (response.status, response.body) == (200, b"")
    assert ("event-outcome", "stored") in response.headers
    [event] = bench.memory.events.values()
    assert event.body == body()
    assert bench.lines[0]["outcome"] == "stored"
    response = bench.handle(delivery())
    assert (response.status, dict(response.headers)["event-outcome"]) == (200, "duplicate")
    assert len(bench.lines) == 2


def test_the_store_is_given_the_deadline(make: Make) -> None:
    bench = make()
    bench.handle(delivery())
    assert DEADLINE - 1 < bench.memory.deadlines[0] <= DEADLINE < 10


@pytest.mark.parametrize("error", [StoreUnavailable("timeout"), StoreUnavailable("53300")])
def test_a_store_that_does_not_confirm_is_503(make: Make, error: StoreUnavailable) -> None:
    bench = make(Memory(error))
    response = bench.handle(delivery())
    assert response.status == 503
    assert ("retry-after", "8") in response.headers
    [line] = bench.lines
    assert (line["severity"], line["reason"]) == ("ERROR", error.cause)
    assert line["key"]


def test_a_bug_is_500_and_shows_where_but_not_what(make: Make) -> None:
    bench = make(Memory(ZeroDivisionError("a body: " + body().decode())))
    response = bench.handle(delivery())
    assert response.status == 500
    [line] = bench.lines
    assert (line["severity"], line["reason"]) == ("ERROR", "bug")
    assert line["traceback"][0] == "ZeroDivisionError"
    assert any("put" in place for place in line["traceback"])
    assert "emucdd6ef2eu277bo8f52vg" not in "".join(line["traceback"])


def test_an_event_whose_store_says_something_is_a_warning(make: Make) -> None:
    bench = make(Memory(note="mark failed: timeout"))
    assert bench.handle(delivery()).status == 200
    assert (bench.lines[0]["severity"], bench.lines[0]["note"]) == ("WARNING", "mark failed: timeout")


def test_what_is_not_wanted_is_acknowledged_and_dropped(make: Make) -> None:
    for environ in ({"DT_EVENT_TYPES": "touch"}, {"DT_PROJECT_ID": "another"}):
        bench = make(**HS256, **environ)
        response = bench.handle(delivery())
        assert (response.status, dict(response.headers)["event-outcome"]) == (200, "dropped")
        assert bench.memory.events == {}
        warning, line = bench.lines
        assert (warning["severity"], line["outcome"]) == ("WARNING", "dropped")
    bench = make(**HS256, DT_EVENT_TYPES='["touch","temperature"]', DT_PROJECT_ID="ccol8iuk9smqiha4e8l0")
    assert bench.handle(delivery()).status == 200
    assert len(bench.memory.events) == 1


@pytest.mark.parametrize(
    "content",
    [
        b'{"event":{"data":{"temperature":{"value":NaN}}}}',
        b"\xef\xbb\xbf" + body(),
        b"\xff",
        b"{}",
        body(eventType=None),
        body(eventType=["touch"]),
    ],
)
def test_what_a_filter_cannot_read_is_stored_and_marked(make: Make, content: bytes) -> None:
    bench = make(**HS256, DT_EVENT_TYPES="touch", DT_PROJECT_ID="ccol8iuk9smqiha4e8l0")
    assert dict(bench.handle(delivery(content)).headers)["event-outcome"] == "stored"
    [event] = bench.memory.events.values()
    assert (event.body, event.parsed) == (content, False)


def test_what_is_known_to_be_unwanted_is_dropped_whatever_else_is_unknown(make: Make) -> None:
    bench = make(**HS256, DT_EVENT_TYPES="touch", DT_PROJECT_ID="another")
    for content in (body(eventType=None), body(targetName=None)):
        assert dict(bench.handle(delivery(content)).headers)["event-outcome"] == "dropped"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "post", ""])
def test_only_post_delivers(make: Make, method: str) -> None:
    bench = make()
    response = bench.handle(Request(method, "/", delivery().headers, body()))
    assert (response.status, dict(response.headers)["allow"]) == (405, "POST")
    assert bench.memory.events == {}


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("PUT", 405), ("POST", 401)])
def test_health(make: Make, method: str, status: int) -> None:
    assert make().handle(Request(method, "/healthz", [], b"")).status == status


def test_the_body_has_a_limit_and_a_token_no_say_in_it(make: Make) -> None:
    bench = make()
    assert bench.handle(delivery(b"x" * MAX_BODY)).status == 200
    assert bench.handle(delivery(b"x" * (MAX_BODY + 1))).status == 413
    assert len(bench.memory.events) == 1


def test_every_refusal_looks_the_same(make: Make) -> None:
    bench = make()
    answers = [bench.handle(delivery(body(), headers)) for headers in ({}, {"X-Dt-Signature": "x"})]
    answers.append(bench.handle(delivery(body(), exp=1, iat=1)))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].status == 401
    assert [line["reason"] for line in bench.lines] == ["missing", "signature", "expired"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_receiver_that_is_not_configured_answers_503_and_says_what_to_set(kind: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({})
    bench = Bench(kind, caught.value, Memory())
    assert bench.handle(delivery()).status == 503
    [line] = bench.lines
    assert line["severity"] == "ERROR"
    assert "DT_SIGNATURE_SECRET" in line["reason"]
    assert bench.handle(Request("GET", "/healthz", [], b"")).status == 200


@pytest.mark.parametrize("kind", [Receiver, AsyncReceiver])
def test_a_receiver_is_built_whatever_the_environment_is_like(kind: type[Receiver] | type[AsyncReceiver]) -> None:
    stream = io.StringIO()
    for environ, status in ((HS256, 405), ({}, 503)):
        receiver: Any = kind.build(lambda environ=environ: (Settings.load(environ), None), Log(stream))  # type: ignore[arg-type, misc]
        request = delivery() if status == 503 else Request("GET", "/", [], b"")
        answer = receiver.handle(request)
        assert (answer if kind is Receiver else asyncio.run(answer)).status == status
    assert "DT_SIGNATURE_SECRET" in json.loads(stream.getvalue().splitlines()[-1])["reason"]


def test_warnings_of_the_settings_are_logged_at_start(make: Make) -> None:
    [line] = make(DT_SIGNATURE_SECRET="short").lines
    assert line["severity"] == "WARNING"


class Keys:
    """Keys that are had at the second time of asking, or never."""

    def __init__(self, has_any: bool) -> None:
        from core.jwks import PinnedKeys

        self.threads: list[int] = []
        self._keys = PinnedKeys(json.loads(JWKS))
        self._has_any = has_any

    def get(self, kid: str) -> Any:
        if not self.threads:
            raise KeysNeeded(self)
        if not self._has_any:
            raise KeysUnavailable("set DT_JWKS")
        return self._keys.get(kid)

    def refresh(self) -> None:
        self.threads.append(threading.get_ident())


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("has_any", [True, False])
def test_keys_are_fetched_when_they_are_needed(kind: str, has_any: bool) -> None:
    import dataclasses

    settings = Settings.load({"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS})
    keys = Keys(has_any)
    settings = dataclasses.replace(settings, verifier=dataclasses.replace(settings.verifier, keys=keys))
    bench = Bench(kind, settings, Memory())
    response = bench.handle(delivery(body(), {"DT-Asymmetric-Signature": es256(body())}))
    assert response.status == (200 if has_any else 503)
    assert len(keys.threads) == 1
    # An event loop is never blocked by a fetch.
    assert (keys.threads[0] == threading.get_ident()) is (kind == "sync")
    if not has_any:
        assert "DT_JWKS" in bench.lines[0]["reason"]


def test_keys_are_not_fetched_when_there_is_no_time_for_it(make: Make) -> None:
    settings = Settings.load({"DT_ORGANIZATION_ID": ORGANIZATION})
    bench = make()
    bench.receiver._settings = settings
    request = delivery(body(), {"DT-Asymmetric-Signature": es256(body())})
    started = time.monotonic() - DEADLINE + 3
    answer = bench.receiver.handle(request, started)
    response = answer if isinstance(answer, Response) else asyncio.run(answer)
    assert response.status == 503
    assert "too slowly" in bench.lines[0]["reason"]


def test_a_request_whose_body_did_not_come_is_503(make: Make) -> None:
    bench = make()
    assert bench.receiver.give_up(delivery(), "body_timeout", time.monotonic()).status == 503
    assert bench.lines[0]["reason"] == "body_timeout"


def test_what_the_platform_has_spoiled_is_503_with_advice(make: Make) -> None:
    bench = make()
    response = bench.receiver.misconfigured(delivery(), "Set it.", time.monotonic())
    assert (response.status, json.loads(response.body)["title"]) == (503, "Set it.")
    assert ("retry-after", "8") in response.headers
    assert (bench.lines[0]["severity"], bench.lines[0]["reason"]) == ("ERROR", "Set it.")
    assert bench.memory.events == {}


@pytest.mark.parametrize(
    ("method", "status", "name"),
    [("wrong_address", 404, "wrong-address"), ("length_required", 411, "length-required")],
)
def test_what_the_platform_makes_of_a_request_is_refused_with_advice(
    method: str, status: int, name: str, make: Make
) -> None:
    bench = make()
    response = getattr(bench.receiver, method)(delivery(), "Post elsewhere.", time.monotonic())
    problem = {"type": f"urn:problem-type:data-connector:{name}", "title": "Post elsewhere.", "status": status}
    assert (response.status, json.loads(response.body)) == (status, problem)
    [line] = bench.lines
    assert (line["severity"], line["outcome"], line["reason"]) == ("WARNING", "refused", "Post elsewhere.")
    assert line["status"] == status
    assert bench.memory.events == {}


def test_what_ends_a_request_is_500_without_a_word_of_it(make: Make) -> None:
    bench = make()
    assert bench.receiver.crashed(SystemExit("the text")).status == 500
    assert bench.lines == [{"severity": "ERROR", "message": "SystemExit ended a request."}]


def test_a_receiver_is_safe_to_use_from_several_threads() -> None:
    memory = Memory()
    receiver = Receiver(Settings.load(HS256), memory, Log(io.StringIO()))
    contents = [body(eventId=f"event{number}") for number in range(200)]

    def run(some: list[bytes]) -> None:
        for content in some:
            assert receiver.handle(delivery(content)).status == 200

    threads = [threading.Thread(target=run, args=(contents[at::8],)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {event.body for event in memory.events.values()} == set(contents)
