"""How many events a second Heroku's receiver stores in PostgreSQL, beside pgbench with the same INSERT, and Flask."""

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT, CannotMeasure, Options, database
from bench.load import Load, TooFewRequests, pgbench, wrk
from bench.machine import cpu_seconds
from bench.peers.environment import environment
from bench.report import Section, number
from bench.requests import RequestFile
from bench.rounds import RATIOS, median, paired_ratio
from tests.support.deliveries import SECRET
from tests.support.ports import free_port, wait_for
from tests.support.postgres import find_binaries
from tests.support.processes import running, spawn

_OTHER_CONNECTIONS = (1, 128)
# Requests for each second of a measurement; doubled if they run out.
_REQUESTS = 20_000
# A process, and its port.
_Served = tuple[int, int]
_HEADER = (
    "What, connections",
    "x pgbench",
    "p99 x pgbench",
    "events/s",
    "p50 ms",
    "p99 ms",
    "CPU us per event",
    "events per commit",
    "not 2xx",
)


@dataclass(frozen=True)
class _Place:
    """What the measurements share.

    Attributes:
        url: The database's URL.
        wrk: The command.
        pgbench: The command.
        folder: For temporary files.
        requests: The requests for wrk.
        seconds: The duration of one measurement.
        gunicorn: The command.
    """

    url: str
    wrk: str
    pgbench: Path
    folder: Path
    requests: RequestFile
    seconds: int
    gunicorn: Path


@dataclass(frozen=True)
class _Figures:
    """One measurement.

    Attributes:
        load: The load generator's result.
        rows: The rows in the table, which was empty before.
        commits: The transactions that wrote them.
        cpu: Seconds of CPU time of the receiver's processes; None for pgbench, and without /proc.
    """

    load: Load
    rows: int
    commits: int
    cpu: float | None = None


def measure(options: Options) -> Section:
    """Measure for ``options.rounds`` rounds, at ``options.connections``, 1 and 128 connections.

    Raises:
        CannotMeasure: PostgreSQL or wrk is missing, or failed.
    """
    command, binaries = _tools()
    counts = tuple(dict.fromkeys((options.connections, *_OTHER_CONNECTIONS)))
    gunicorn = environment() / "bin" / "gunicorn"
    kinds = [(subject, connections) for connections in counts for subject in _NAMES]
    figures: dict[_Kind, list[_Figures]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        requests = RequestFile(folder / "requests")
        requests.grow(_REQUESTS * options.seconds)
        with database.running(binaries, folder) as url:
            place = _Place(url, command, binaries / "pgbench", folder, requests, options.seconds, gunicorn)
            for index in range(options.rounds):
                for kind in random.sample(kinds, len(kinds)):
                    subject, connections = kind
                    one = subject(place, connections)
                    figures[kind].append(one)
                    what = f"{_NAMES[subject]}, {connections}: {one.load.rate:,.0f} events/s"
                    print(f"heroku: round {index + 1} of {options.rounds}: {what}", file=sys.stderr)
            return _section(figures, database.describe(url))


def _tools() -> tuple[str, Path]:
    """Return the wrk command, and the folder of PostgreSQL's programs."""
    command, binaries = shutil.which("wrk"), find_binaries()
    if command is None or binaries is None or not (binaries / "pgbench").exists():
        raise CannotMeasure("It needs wrk, PostgreSQL's server and pgbench: on Debian, apt-get install wrk postgresql.")
    return command, binaries


def _receiver(place: _Place, connections: int) -> _Figures:
    """Put load on the receiver, in a new process."""
    environ = {"DATABASE_URL": place.url, "DT_SIGNATURE_SECRET": SECRET}

    @contextmanager
    def started() -> Iterator[_Served]:
        with running("heroku", environ, place.folder) as program:
            yield program.process.pid, program.port

    return _loaded(place, connections, started)


def _flask(place: _Place, connections: int) -> _Figures:
    """Put load on the peer: two processes, as on a small dyno.

    https://devcenter.heroku.com/articles/python-concurrency
    """

    @contextmanager
    def started() -> Iterator[_Served]:
        port = free_port()
        options = ("--workers=2", "--worker-class=gthread", "--threads=8", "--log-level=error")
        process = spawn(
            [str(place.gunicorn), *options, f"--bind=127.0.0.1:{port}", "bench.peers.heroku_flask:app"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": place.url, "DT_SIGNATURE_SECRET": SECRET},
        )
        try:
            wait_for(port, process)
            # The workers have opened their pools.
            time.sleep(1)
            yield process.pid, port
        finally:
            process.terminate()
            process.wait(30)

    return _loaded(place, connections, started)


def _loaded(place: _Place, connections: int, started: Callable[[], AbstractContextManager[_Served]]) -> _Figures:
    while True:
        database.empty(place.url)
        with started() as (pid, port):
            commits, cpu = database.count_commits(place.url), cpu_seconds(pid)
            try:
                load = wrk(place.wrk, place.requests, port, connections, place.seconds)
            except TooFewRequests:
                place.requests.grow(place.requests.count * 2)
                continue
            after = cpu_seconds(pid)
            return _Figures(
                load,
                database.count_rows(place.url),
                database.count_commits(place.url) - commits,
                None if cpu is None or after is None else after - cpu,
            )


def _pgbench(place: _Place, connections: int) -> _Figures:
    """Put load on PostgreSQL alone, with one thread and with two; return the better result."""
    found = []
    for threads in (1, 2) if connections > 1 else (1,):
        database.empty(place.url)
        commits = database.count_commits(place.url)
        load = pgbench(place.pgbench, place.url, connections, threads, place.seconds, place.folder)
        found.append(_Figures(load, database.count_rows(place.url), database.count_commits(place.url) - commits))
    return max(found, key=lambda figures: figures.load.rate)


_Subject = Callable[[_Place, int], _Figures]
_Kind = tuple[_Subject, int]
_NAMES: dict[_Subject, str] = {
    _receiver: "Heroku's receiver",
    _flask: "Flask, psycopg, gunicorn",
    _pgbench: "pgbench",
}


def _section(figures: Mapping[_Kind, Sequence[_Figures]], database_note: str) -> Section:
    rows = []
    for (subject, connections), own in figures.items():
        bases = figures[_pgbench, connections]
        rates, p99s = [one.load.rate for one in own], [one.load.p99 for one in own]
        cpu = [one.cpu / one.load.confirmed * 1e6 for one in own if one.cpu is not None and one.load.confirmed]
        rows.append(
            [
                f"{_NAMES[subject]}, {connections}",
                number(paired_ratio(rates, [base.load.rate for base in bases]), 2),
                number(paired_ratio(p99s, [base.load.p99 for base in bases]), 2),
                number(median(rates), 0),
                number(median(one.load.p50 for one in own), 2),
                number(median(p99s), 2),
                number(median(cpu) if cpu else None, 0),
                number(median(one.rows / max(one.commits, 1) for one in own), 1),
                number(sum(one.load.refused for one in own), 0),
            ]
        )
    notes = (
        _kept([one for own in figures.values() for one in own]),
        "pgbench runs the receiver's own INSERT, prepared, with random keys and a body as long: one row per commit.",
        "It is the better of -j 1 and -j 2 in each round. Everything is on this machine, over TCP, without TLS.",
        database_note,
        "The peer verifies with PyJWT, and makes one INSERT for each event: 2 processes of gunicorn, 8 threads each.",
        "wrk adds to its percentiles what a request would have waited behind a slow one; pgbench does not.",
        RATIOS,
    )
    return Section("heroku: events into PostgreSQL", _HEADER, rows, notes)


def _kept(measurements: Sequence[_Figures]) -> str:
    """Return the most important line: whether the acknowledged events are stored."""
    is_kept = all(one.rows >= one.load.confirmed for one in measurements)
    acknowledged, rows = sum(one.load.confirmed for one in measurements), sum(one.rows for one in measurements)
    broken = sum(one.load.broken for one in measurements)
    return (
        f"Every acknowledged event is in the table: {'yes' if is_kept else 'NO'}. {acknowledged:,} were acknowledged "
        f"in {len(measurements)} measurements; of {rows:,} rows, those beyond were on their way when the load ended. "
        f"Requests without an answer: {broken}."
    )
