"""The receivers beside what people would write instead, for each cloud: `bench.peers`."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT, CannotMeasure, Options
from bench.peers.environment import environment
from bench.report import Section, number
from bench.rounds import RATIOS, median, paired_ratio
from bench.samples import fresh_delivery
from bench.stub import stub
from tests.support.deliveries import SECRET
from tests.support.service_bus import ServiceBus

_CALLERS = (1, 8)
_EVENTS = 400
_HEADER = (
    "What",
    "start, ms",
    *(f"{what} at {callers}" for callers in _CALLERS for what in ("CPU, us", "p50, us", "p99, us")),
    "memory, MiB",
)


@dataclass(frozen=True)
class _Pair:
    """A receiver and its peer.

    Attributes:
        name: Its name in the table.
        peer: The module in `bench.peers`.
        subject: The receiver, for `bench.called`.
        environ: The settings of both; of the receiver, with those in ``ours`` in addition.
        ours: The receiver's own settings.
        python: The peer's interpreter.
    """

    name: str
    peer: str
    subject: str
    environ: Mapping[str, str]
    ours: Mapping[str, str]
    python: str = sys.executable

    @property
    def is_here(self) -> bool:
        """Whether there is such an adapter; not if a fork removed it."""
        kind, _, adapter = self.subject.partition(".")
        return kind != "ours" or (ROOT / adapter).is_dir()


def measure(options: Options) -> Section:
    """Run each receiver and its peer in turns, for ``options.rounds`` rounds.

    Raises:
        CannotMeasure: A program failed.
    """
    rows = []
    with _pairs() as pairs:
        for pair in pairs:
            if not pair.is_here:
                continue
            peer, ours = _rounds(pair, options.rounds)
            columns = [*zip(*peer, strict=True)], [*zip(*ours, strict=True)]
            rows.append([f"{pair.name}: peer", *(number(median(column), 0) for column in columns[0])])
            ratios = (paired_ratio(own, base) for base, own in zip(*columns, strict=True))
            rows.append([f"{pair.name}: x peer", *(number(ratio, 2) for ratio in ratios)])
    notes = (
        (
            f"{_EVENTS} events in each of {options.rounds} rounds, by 1 and by 8 callers, each time in a new process; "
            "to servers on this machine that do nothing, for Service Bus the tests' own."
        ),
        "Start: from the start of the process to the first stored delivery. Memory: the peak, at 8.",
        (
            "A peer verifies with PyJWT and stores by the vendor's SDK with its defaults; it has no log, no limits of "
            "time and no classification of errors."
        ),
        (
            "Google's peer publishes alone. Service Bus's sender may not be shared, so its peer sends one at a time. "
            "Powertools' peer also routes the event of a Function URL, and logs. dtintegrations only verifies and "
            "parses; beside it is the core, which does the same."
        ),
        RATIOS,
    )
    return Section("peers: beside what one would write instead", _HEADER, rows, notes)


@contextmanager
def _pairs() -> Iterator[list[_Pair]]:
    python = str(environment() / "bin" / "python")
    with tempfile.TemporaryDirectory() as folder, stub() as address, stub("bench.grpc_stub") as grpc:
        aws = {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
        }
        google = {
            "PUBSUB_EMULATOR_HOST": address,
            "FIRESTORE_EMULATOR_HOST": address,
            "DT_STORE": "pubsub",
            "DT_TOPIC": "projects/p/topics/t",
            "DT_FIRESTORE": "projects/p/databases/d",
        }
        publisher = {"PUBSUB_EMULATOR_HOST": grpc}
        storage = {
            "DT_STORAGE": "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;"
            f"QueueEndpoint=http://{address}/account;TableEndpoint=http://{address}/account;"
        }
        cloudant = {"DT_CLOUDANT": f"http://user:password@{address}"}
        bus = ServiceBus(Path(folder), "events")
        bus.start()
        try:
            yield [
                _Pair("AWS, DynamoDB", "aws_dynamodb", "ours.aws_lambda", aws, {"DT_TABLE": "events"}),
                _Pair(
                    "AWS, DynamoDB, Powertools",
                    "aws_powertools",
                    "ours.aws_lambda",
                    aws,
                    {"DT_TABLE": "events"},
                    python,
                ),
                _Pair(
                    "AWS, SQS and seen keys",
                    "aws_sqs",
                    "ours.aws_lambda",
                    {**aws, "DT_QUEUE_URL": f"http://{address}/queue"},
                    {"DT_STORE": "sqs", "DT_SEEN_TABLE": "seen"},
                ),
                _Pair(
                    "Google, publish", "gcp_pubsub", "ours.gcp_functions", publisher, {**google, "DT_SEEN_KEYS": "none"}
                ),
                _Pair(
                    "Google, three calls",
                    "gcp_pubsub",
                    "ours.gcp_functions",
                    publisher,
                    {**google, "DT_SEEN_KEYS": "firestore"},
                ),
                _Pair(
                    "Azure, Service Bus",
                    "azure_service_bus",
                    "ours.azure_functions",
                    {"DT_SERVICE_BUS": bus.connection_string},
                    {"DT_STORE": "service_bus"},
                ),
                *(
                    _Pair(f"Azure, {store}", f"azure_{store}", "ours.azure_functions", storage, {"DT_STORE": store})
                    for store in ("table", "storage_queue")
                ),
                _Pair("IBM, Cloudant", "ibm_cloudant", "ours.ibm_actions", cloudant, {}),
                _Pair("dtintegrations", "dt_integrations", "verified", {}, {}, python),
            ]
        finally:
            bus.close()


def _rounds(pair: _Pair, rounds: int) -> tuple[list[list[float]], list[list[float]]]:
    """Return the figures of each round, in the order of the table: the peer's, and ours."""
    programs = {
        f"peers.{pair.peer}": (pair.python, pair.environ),
        pair.subject: (sys.executable, {**pair.environ, **pair.ours}),
    }
    found: dict[str, list[list[float]]] = {subject: [] for subject in programs}
    for index in range(rounds):
        for subject in list(programs) if index % 2 else reversed(programs):
            starts, figures = [], []
            for callers in _CALLERS:
                start, *measured, memory = _run(subject, callers, *programs[subject])
                starts.append(start)
                figures += measured
            found[subject].append([min(starts), *figures, memory])
        print(f"peers: {pair.name}, round {index + 1} of {rounds}", file=sys.stderr)
    peer, ours = found.values()
    return peer, ours


def _run(subject: str, callers: int, python: str, environ: Mapping[str, str]) -> list[float]:
    """Return the milliseconds to the first delivery, and what `bench.called` prints."""
    deliveries = [(token, body.decode()) for body, token in (fresh_delivery() for _ in range(_EVENTS + 8 * callers))]
    started = time.perf_counter()
    with subprocess.Popen(
        [python, "-m", "bench.called", subject, str(callers)],
        env={"PATH": os.environ.get("PATH", ""), "DT_SIGNATURE_SECRET": SECRET, **environ},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        json.dump(deliveries, process.stdin)
        process.stdin.close()
        if not process.stdout.readline():
            raise CannotMeasure(f"{subject} failed.")
        start = (time.perf_counter() - started) * 1e3
        printed = process.stdout.readline()
    if not printed:
        raise CannotMeasure(f"{subject} failed, with exit status {process.returncode}.")
    return [start, *json.loads(printed)]
