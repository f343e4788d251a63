"""The decision table without a platform, by both receivers. tests/contract runs it through each adapter."""

import asyncio
import dataclasses
import io
import json
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest

from core.environment import SettingsError
from core.event import Event, parse_stored
from core.http import Request, Response, problem
from core.log import Log
from core.receiver import (
    DEADLINE,
    MAX_BODY,
    AsyncReceiver,
    AsyncUnconfiguredReceiver,
    Receiver,
    UnconfiguredReceiver,
)
from core.settings import Settings
from core.stores.contract import Outcome, StoreUnavailableError
from core.verify.keys import KeysNeeded, KeysUnavailableError
from tests.support.deliveries import ORGANIZATION, SECRET, body, delivery
from tests.support.es256 import JWKS, es256
from tests.support.memory import AsyncMemory, GroupedMemory, Memory

HS256 = {"DT_SIGNATURE_SECRET": SECRET}
KEY = parse_stored(body(), datetime.now(UTC)).key


class Bench:
    """One receiver, its memory and its log."""

    def __init__(self, kind: str, settings: Settings, memory: Memory) -> None:
        self._stream = io.StringIO()
        self.memory = memory
        log = Log(self._stream)
        self.handle: Callable[[Request], Response]
        if kind == "sync":
            self.receiver: Receiver | AsyncReceiver = Receiver(settings, memory, log)
            self.handle = self.receiver.handle
        else:
            store = GroupedMemory(memory) if kind == "grouped" else AsyncMemory(memory)
            receiver = self.receiver = AsyncReceiver(settings, store, log)
            handle = receiver.handle if kind == "async" else begun(receiver)
            self.handle = lambda request: asyncio.run(handle(request))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


def begun(receiver: AsyncReceiver) -> Callable[[Request], Coroutine[None, None, Response]]:
    """Wait for what `AsyncReceiver.begin` answers."""

    async def handle(request: Request) -> Response:
        answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        receiver.begin(request, time.monotonic(), answered.set_result)
        return await answered

    return handle


@pytest.fixture(params=["sync", "async", "begun", "grouped"])
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


def test_store_gets_the_deadline(make: Make) -> None:
    bench = make()
    bench.handle(delivery())
    assert DEADLINE - 1 < bench.memory.deadlines[0] <= DEADLINE < 10


@pytest.mark.parametrize("outcome", [None, Outcome("created")])
def test_store_without_a_known_outcome_is_not_acknowledged(make: Make, outcome: Any) -> None:
    """As one of your own may be, where nobody checks types."""

    class Careless(Memory):
        def put(self, event: Event, deadline: float) -> Any:
            return outcome

    bench = make(Careless())
    assert bench.handle(delivery()).status in (500, 503)
    assert [line["outcome"] for line in bench.lines] == ["failed"]


def test_cancelled_put_is_503() -> None:
    receiver = AsyncReceiver(Settings.load(HS256), AsyncMemory(Memory(asyncio.CancelledError())), Log(io.StringIO()))
    assert asyncio.run(begun(receiver)(delivery())).status == 503


@pytest.mark.parametrize("error", [StoreUnavailableError("timeout"), StoreUnavailableError("53300", "mark failed")])
def test_unconfirmed_store_is_503(make: Make, error: StoreUnavailableError) -> None:
    bench = make(Memory(error))
    response = bench.handle(delivery())
    assert response.status == 503
    assert ("retry-after", "8") in response.headers
    [line] = bench.lines
    assert (line["severity"], line["outcome"], line["reason"]) == ("ERROR", "failed", error.reason)
    assert (line["key"], line["bytes"], line.get("note")) == (KEY, len(body()), error.note)


def test_unexpected_exception_is_500_without_its_text(make: Make) -> None:
    bench = make(Memory(ZeroDivisionError("a body: " + body().decode())))
    response = bench.handle(delivery())
    assert response.status == 500
    [line] = bench.lines
    assert (line["severity"], line["outcome"], line["reason"]) == ("ERROR", "failed", "bug")
    assert line["key"] == KEY
    assert line["traceback"][0] == "ZeroDivisionError"
    assert any("put" in place for place in line["traceback"])
    assert "emucdd6ef2eu277bo8f52vg" not in "".join(line["traceback"])


def test_note_of_the_store_is_logged_as_a_warning(make: Make) -> None:
    bench = make(Memory(note="mark failed: timeout"))
    assert bench.handle(delivery()).status == 200
    assert (bench.lines[0]["severity"], bench.lines[0]["note"]) == ("WARNING", "mark failed: timeout")


def test_filtered_event_is_acknowledged_and_dropped(make: Make) -> None:
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
def test_unparsed_event_is_not_filtered(make: Make, content: bytes) -> None:
    bench = make(**HS256, DT_EVENT_TYPES="touch", DT_PROJECT_ID="ccol8iuk9smqiha4e8l0")
    assert dict(bench.handle(delivery(content)).headers)["event-outcome"] == "stored"
    [event] = bench.memory.events.values()
    assert (event.body, event.parsed) == (content, False)


def test_one_mismatching_filter_drops_the_event(make: Make) -> None:
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


def test_body_size_limit_holds_for_signed_requests_too(make: Make) -> None:
    bench = make()
    assert bench.handle(delivery(b"x" * MAX_BODY)).status == 200
    assert bench.handle(delivery(b"x" * (MAX_BODY + 1))).status == 413
    assert len(bench.memory.events) == 1


def test_every_refusal_has_the_same_answer(make: Make) -> None:
    bench = make()
    answers = [bench.handle(delivery(body(), headers)) for headers in ({}, {"X-Dt-Signature": "x"})]
    answers.append(bench.handle(delivery(body(), exp=1, iat=1)))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].status == 401
    assert [line["reason"] for line in bench.lines] == ["missing", "signature", "expired"]


Built = Receiver | UnconfiguredReceiver | AsyncReceiver | AsyncUnconfiguredReceiver


def answer(receiver: Built, request: Request, started: float | None = None) -> Response:
    found = receiver.handle(request, started)
    return found if isinstance(found, Response) else asyncio.run(found)


@pytest.mark.parametrize("kind", [UnconfiguredReceiver, AsyncUnconfiguredReceiver])
def test_receiver_without_valid_settings_says_so_for_each_request(kind: type[UnconfiguredReceiver]) -> None:
    stream = io.StringIO()
    receiver = kind(SettingsError(["Set DT_SIGNATURE_SECRET."]), Log(stream))
    assert answer(receiver, delivery(), time.monotonic() - 2).status == 503
    line = json.loads(stream.getvalue())
    assert (line["severity"], line["outcome"]) == ("ERROR", "failed")
    assert "Set DT_SIGNATURE_SECRET." in line["reason"]
    assert line["totalMs"] >= 2000


def test_store_that_refuses_before_it_waits_is_503() -> None:
    class Full(AsyncMemory):
        def put(self, event: Event, deadline: float) -> NoReturn:
            raise StoreUnavailableError("too_many_waiting")

    stream = io.StringIO()
    receiver = AsyncReceiver(Settings.load(HS256), Full(Memory()), Log(stream))
    for handle in (receiver.handle, begun(receiver)):
        assert asyncio.run(handle(delivery())).status == 503
    assert stream.getvalue().count("too_many_waiting") == 4


def test_async_receiver_opens_and_closes_its_store() -> None:
    store = AsyncMemory(Memory())
    receiver = AsyncReceiver(Settings.load(HS256), store, Log(io.StringIO()))

    async def run() -> None:
        await receiver.open()
        await receiver.close()

    asyncio.run(run())
    assert store.steps == ["open", "close"]


def test_warnings_of_the_settings_are_logged_at_start(make: Make) -> None:
    [line] = make(DT_SIGNATURE_SECRET="short").lines
    assert line["severity"] == "WARNING"


class Keys:
    """Keys that are had at the second time of asking, or never."""

    def __init__(self, has_any: bool) -> None:
        from core.verify.jwks import PinnedKeys

        self.threads: list[int] = []
        self._keys = PinnedKeys(json.loads(JWKS))
        self._has_any = has_any

    def get(self, kid: str) -> Any:
        if not self.threads:
            return KeysNeeded(self)
        if not self._has_any:
            raise KeysUnavailableError("set DT_JWKS")
        return self._keys.get(kid)

    def refresh(self) -> None:
        self.threads.append(threading.get_ident())


@pytest.mark.parametrize("kind", ["sync", "async", "begun"])
@pytest.mark.parametrize("has_any", [True, False])
def test_keys_are_fetched_on_demand(kind: str, has_any: bool) -> None:
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
        [line] = bench.lines
        assert (line["severity"], line["outcome"], line["reason"]) == ("ERROR", "failed", "set DT_JWKS")


class NeverSettled(Keys):
    """Keys that ask to be refreshed each time."""

    def get(self, kid: str) -> Any:
        return KeysNeeded(self)


def test_key_refresh_is_limited_to_two(make: Make) -> None:
    settings = Settings.load({"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS})
    keys = NeverSettled(True)
    bench = make()
    bench.receiver._settings = dataclasses.replace(settings, verifier=dataclasses.replace(settings.verifier, keys=keys))
    assert bench.handle(delivery(body(), {"DT-Asymmetric-Signature": es256(body())})).status == 503
    assert len(keys.threads) == 2
    assert "keys_unavailable" in bench.lines[0]["reason"]


def test_keys_are_not_fetched_too_close_to_the_deadline(make: Make) -> None:
    settings = Settings.load({"DT_ORGANIZATION_ID": ORGANIZATION})
    bench = make()
    bench.receiver._settings = settings
    request = delivery(body(), {"DT-Asymmetric-Signature": es256(body())})
    started = time.monotonic() - DEADLINE + 3
    assert answer(bench.receiver, request, started).status == 503
    assert "took too long" in bench.lines[0]["reason"]


def test_too_large_request_is_413(make: Make) -> None:
    bench = make()
    assert bench.receiver.too_large(Request("POST", "/", [], b""), time.monotonic()).status == 413
    assert bench.lines[0]["reason"] == "too_large"


def test_request_whose_body_times_out_is_503(make: Make) -> None:
    bench = make()
    assert bench.receiver.give_up(delivery(), "body_timeout", time.monotonic()).status == 503
    assert (bench.lines[0]["outcome"], bench.lines[0]["reason"]) == ("failed", "body_timeout")


def test_adapter_refuses_a_request_with_advice(make: Make) -> None:
    bench = make()
    response = problem(404, "wrong-address", "Post elsewhere.")
    assert bench.receiver.refuse(delivery(), response, "Post elsewhere.", time.monotonic()) is response
    [line] = bench.lines
    assert (line["severity"], line["outcome"], line["reason"]) == ("WARNING", "refused", "Post elsewhere.")
    assert line["status"] == 404
    assert bench.memory.events == {}


def test_problem_is_rfc_9457() -> None:
    response = problem(411, "length-required", "Send Content-Length.", ("retry-after", "8"))
    document = {
        "type": "urn:problem-type:data-connector:length-required",
        "title": "Send Content-Length.",
        "status": 411,
    }
    assert (response.status, json.loads(response.body)) == (411, document)
    assert dict(response.headers) == {
        "content-type": "application/problem+json",
        "content-length": str(len(response.body)),
        "retry-after": "8",
    }


def test_receiver_is_thread_safe() -> None:
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
