"""How the cost of an event grows: with the connections, with its size, with its samples, and with what is stored."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import CannotMeasure, Options, database, rows
from bench.load import Load, TooFewRequests, wrk
from bench.machine import cpu_seconds
from bench.report import Section, number
from bench.requests import RequestFile
from bench.rounds import median
from bench.samples import PROJECT, signed
from dt_cloud.bodies import Device
from tests.support.deliveries import SECRET
from tests.support.postgres import find_binaries
from tests.support.processes import Program, running

# Requests for each second of a load, or fewer if they are large; doubled if they run out.
_REQUESTS = 16_000
_MOST_BYTES = 32 * 1024 * 1024
# Connections, where something else grows.
_CONNECTIONS = 8
_DEVICE = "emucdd6ef2eu277bo8f5000"
# Starts a receiver, with Postgres' URL and a folder.
_Start = Callable[[str, Path], AbstractContextManager[Program]]
_COLUMNS = ("events/s", "p50, ms", "p99, ms", "CPU, us")


def _plain(_: int) -> bytes:
    return Device(_DEVICE, PROJECT).body("co2", datetime.now(UTC))


def _labelled(size: int) -> bytes:
    """Return a body with as many labels as fit: DT forwards all that a sensor has."""
    body = _plain(0)
    label = len(',"label-0000":"Kjølerom 1"'.encode())
    labels = {"name": "Kjølerom 1"} | {f"label-{at:04}": "Kjølerom 1" for at in range((size - len(body)) // label)}
    return Device(_DEVICE, PROJECT, labels=labels).body("co2", datetime.now(UTC))


def _sampled(samples: int) -> bytes:
    return Device(_DEVICE, PROJECT, samples=samples).body("temperature", datetime.now(UTC))


@dataclass(frozen=True)
class _Growth:
    """What grows.

    Attributes:
        name: The first column.
        values: Its values.
        body: Makes the body of a new event, from a value.
        is_connections: Whether the value is the number of connections.
    """

    name: str
    values: Sequence[int]
    body: Callable[[int], bytes]
    is_connections: bool = False


_GROWTHS = (
    _Growth("connections", (1, 4, 16, 64, 256), _plain, is_connections=True),
    _Growth("bytes", (400, 4_096, 16_384, 65_536), _labelled),
    _Growth("samples", (1, 5, 15, 30), _sampled),
)


@dataclass(frozen=True)
class _Place:
    """What the measurements share: wrk, Postgres, a folder for temporary files, and how long a load lasts."""

    wrk: str
    url: str
    folder: Path
    seconds: int


@dataclass(frozen=True)
class _Figures:
    load: Load
    cpu: float | None


def measure(options: Options) -> list[Section]:
    """Measure each load, and then fill the databases: a third of the rounds, and of the seconds.

    Raises:
        CannotMeasure: PostgreSQL or wrk is missing, or failed.
    """
    command, binaries = shutil.which("wrk"), find_binaries()
    if command is None or binaries is None:
        raise CannotMeasure("It needs wrk and PostgreSQL's server: on Debian, apt-get install wrk postgresql.")
    rounds, seconds = (max(each // 3, 1) for each in (options.rounds, options.seconds))
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with database.running(binaries, folder) as url:
            sections = [_measured(growth, _Place(command, url, folder, seconds), rounds) for growth in _GROWTHS]
            return [*sections, rows.measure(url, folder, rounds, options.rows)]


def _measured(growth: _Growth, place: _Place, rounds: int) -> Section:
    figures: dict[tuple[int, str], list[_Figures]] = {}
    for value in growth.values:
        requests = RequestFile(place.folder / "requests", partial(_fresh, growth, value))
        requests.path.unlink(missing_ok=True)
        requests.grow(min(_REQUESTS, _MOST_BYTES // len(growth.body(value))) * place.seconds)
        for index in range(rounds):
            for name, start in _STARTS.items():
                connections = value if growth.is_connections else _CONNECTIONS
                figures.setdefault((value, name), []).append(_loaded(start, place, requests, connections))
                print(f"growth: {value:,} {growth.name}, {name}, round {index + 1} of {rounds}", file=sys.stderr)
    notes = (
        (
            f"{place.seconds} s of load on the local receiver and Heroku's, each time a new process; {_CONNECTIONS} "
            "connections, where those are not what grows. Larger bodies have more labels."
        ),
        f"Not answered 2xx: {sum(one.load.refused + one.load.broken for own in figures.values() for one in own)}.",
        "Figures are medians over the rounds.",
    )
    header = [growth.name, *(f"{name}: {column}" for name in _STARTS for column in _COLUMNS)]
    table = [
        [f"{value:,}", *(cell for name in _STARTS for cell in _cells(figures[value, name]))] for value in growth.values
    ]
    return Section(f"growth: {growth.name}", header, table, notes)


def _loaded(start: _Start, place: _Place, requests: RequestFile, connections: int) -> _Figures:
    while True:
        with start(place.url, place.folder) as program:
            before = cpu_seconds(program.process.pid)
            try:
                load = wrk(place.wrk, requests, program.port, connections, place.seconds)
            except TooFewRequests:
                requests.grow(requests.count * 2)
                continue
            after = cpu_seconds(program.process.pid)
        cpu = None if before is None or after is None else (after - before) / max(load.confirmed, 1) * 1e6
        return _Figures(load, cpu)


def _fresh(growth: _Growth, value: int) -> tuple[bytes, str]:
    return signed(growth.body(value))


def _cells(figures: Sequence[_Figures]) -> list[str]:
    cpu = [one.cpu for one in figures if one.cpu is not None]
    return [
        number(median(one.load.rate for one in figures), 0),
        number(median(one.load.p50 for one in figures), 2),
        number(median(one.load.p99 for one in figures), 2),
        number(median(cpu) if cpu else None, 0),
    ]


@contextmanager
def _local(_: str, folder: Path) -> Iterator[Program]:
    with tempfile.TemporaryDirectory(dir=folder) as data:
        environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": f"{data}/events.db"}
        with running("local", environ, Path(data)) as program:
            yield program


@contextmanager
def _heroku(url: str, folder: Path) -> Iterator[Program]:
    database.empty(url)
    with running("heroku", {"DT_SIGNATURE_SECRET": SECRET, "DATABASE_URL": url}, folder) as program:
        yield program


_STARTS: Mapping[str, _Start] = {"SQLite": _local, "Postgres": _heroku}
