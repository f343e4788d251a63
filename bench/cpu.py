"""CPU time per event in one process, from bare hashing to the whole decision, and of each refusal."""

import hashlib
import io
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from bench import CannotMeasure, Options
from bench.cases import GROUPS, Case
from bench.report import Section, number
from bench.rounds import RATIOS, median, paired_ratio
from bench.samples import Sample
from core.event import Event, parse
from core.http import Request
from core.log import Log
from core.receiver import Receiver
from core.settings import Settings
from core.stores.contract import Outcome
from tests.support.deliveries import SECRET, verified

# New events per batch for every row: few enough that all rows are measured at the same moment.
_BATCH = 50
_LARGE_BATCH = 5

_HEADER = ("What", "x `jwt.decode`", "x accepting", "us per event", "lowest round", "highest")


class _MemoryStore:
    """Keeps events until it is emptied."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}

    def put(self, event: Event, deadline: float) -> Outcome:  # noqa: ARG002 - nothing here can be late
        if event.key in self.events:
            return Outcome.DUPLICATE
        self.events[event.key] = event
        return Outcome.STORED


@dataclass(frozen=True, eq=False)
class _Row:
    """One measurement.

    Attributes:
        name: Its name in the table.
        prepare: Creates the arguments of `run`, outside the measurement.
        run: The measured code.
        accepting: The row to compare with.
        case: The case, if it is a request.
        count: The number of events of a batch that it gets.
    """

    name: str
    prepare: Callable[[Sample], Any]
    run: Callable[[Any], object]
    accepting: "_Row | None" = None
    case: Case | None = None
    count: int = _BATCH


def measure(options: Options) -> Section:
    """Measure for ``options.rounds`` rounds of ``options.seconds`` each."""
    with open(os.devnull, "w") as devnull:
        store = _MemoryStore()
        steps, pyjwt = _steps()
        rows = [*steps, *_requests(store, Log(devnull))]
        figures: dict[_Row, list[float]] = {row: [] for row in rows}
        events = 0
        for index in range(options.rounds):
            counted, costs = _round(rows, store, options.seconds)
            events += counted
            for row, microseconds in costs.items():
                figures[row].append(microseconds)
            print(f"core: round {index + 1} of {options.rounds}, {counted:,} events", file=sys.stderr)
    return _section(figures, figures[pyjwt], events)


def _steps() -> tuple[list[_Row], _Row]:
    """Return the parts of the decision, and the one that is PyJWT."""
    verifier = Settings.load({"DT_SIGNATURE_SECRET": SECRET}).verifier
    make = GROUPS[0][0].make

    def verify(request: Request) -> object:
        return verifier.verify(request, time.time())

    def verify_and_parse(request: Request) -> Event:
        now = time.time()
        return parse(verified(verifier, request, now), datetime.fromtimestamp(now, UTC))

    pyjwt = _Row("`jwt.decode` alone", lambda s: s.hs256, lambda token: jwt.decode(token, SECRET, ["HS256"]))
    return [
        _Row("SHA-256 of the body alone", lambda s: s.body, lambda body: hashlib.sha256(body).hexdigest()),
        pyjwt,
        _Row("`verify`", make, verify),
        _Row("`verify` and `parse`", make, verify_and_parse),
    ], pyjwt


def _requests(store: _MemoryStore, log: Log) -> list[_Row]:
    """Return the whole decision on each case."""
    rows = []
    for first, *others in GROUPS:
        for case in (first, *others):
            _check(case)
        accepting = _row(first, None, store, log)
        rows += [accepting, *(_row(case, accepting, store, log) for case in others)]
    return rows


def _row(case: Case, accepting: _Row | None, store: _MemoryStore, log: Log) -> _Row:
    handle = Receiver(Settings.load(case.environ), store, log).handle
    return _Row(case.name, case.make, handle, accepting, case, _LARGE_BATCH if case.is_large else _BATCH)


def _check(case: Case) -> None:
    """Check a case by its log line.

    Raises:
        CannotMeasure: The case is not what its name says.
    """
    lines = io.StringIO()
    Receiver(Settings.load(case.environ), _MemoryStore(), Log(lines)).handle(case.make(Sample()))
    line = json.loads(lines.getvalue())
    if (line["outcome"], line.get("reason")) != ("refused" if case.reason else "stored", case.reason):
        raise CannotMeasure(f"{case.name!r} is answered otherwise than bench/cases.py says: {line['message']}.")


def _round(rows: Sequence[_Row], store: _MemoryStore, seconds: float) -> tuple[int, dict[_Row, float]]:
    """Return the number of events, and the microseconds per event of each row."""
    spent = dict.fromkeys(rows, 0.0)
    batches = 0
    end = time.monotonic() + seconds
    while not batches or time.monotonic() < end:
        batches += 1
        samples = [Sample() for _ in range(_BATCH)]
        prepared = {row: [row.prepare(sample) for sample in samples[: row.count]] for row in rows}
        for row in random.sample(rows, len(rows)):
            store.events.clear()
            spent[row] += _cpu_seconds(row.run, prepared[row])
    return batches * _BATCH, {row: spent[row] / (batches * row.count) * 1e6 for row in rows}


def _cpu_seconds(run: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    started = time.process_time()
    for argument in arguments:
        run(argument)
    return time.process_time() - started


def _section(figures: dict[_Row, list[float]], pyjwt: list[float], events: int) -> Section:
    cells, dearer = [], []
    refusals = 0
    for row, values in figures.items():
        ratio = None
        if row.case:
            ratio = paired_ratio(values, figures[row.accepting or row])
            if row.case.reason:
                refusals += 1
                if ratio > 1 and row.accepting:
                    dearer.append(f"{row.accepting.name.partition(':')[0]}, {row.name} ({ratio:.2f})")
        name = f"- {row.name}" if row.accepting else row.name
        absolute = [number(value, 1) for value in (median(values), min(values), max(values))]
        cells.append([name, number(paired_ratio(values, pyjwt), 2), number(ratio, 2), *absolute])
    notes = (
        f"{events:,} new events of {len(Sample().body)} bytes, a tenth as many of 256 KiB, none twice in one row.",
        "8 headers with each, or 9 where two of them are signatures.",
        f"The rows take turns of {_BATCH} events ({_LARGE_BATCH} of 256 KiB), in random order.",
        "Each request goes through the whole of `Receiver.handle`, with a store in memory and the log to /dev/null.",
        "x accepting: compared with the first of its group, whose body is as large.",
        RATIOS,
        f"Refusals that cost more than accepting, of {refusals}: {', '.join(dearer) or 'none'}.",
    )
    return Section("core: CPU time per event", _HEADER, cells, notes)
