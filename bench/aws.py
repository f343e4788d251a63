"""The Lambda function as deployed: its cold start, memory and size, and its overhead over the store's call."""

import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bench import CannotMeasure, Options
from bench.functions import SITE_PACKAGES, run, zipped
from bench.programs import FLOOR_HEADER, MIN_ROUNDS, Program, beside_floors, in_turns
from bench.report import Section
from bench.rounds import RATIOS, median
from bench.samples import fresh_delivery
from bench.stub import stub
from tests.support.deliveries import SECRET

# The floor: the start of any such function.
_FLOOR = "import boto3\nfor name in {clients}: boto3.client(name)"
# A cold start up to the call of the store: imports, clients, and a delivery until then. With the secret in Secrets
# Manager this includes a request for it.
_START = """
import json, os, sys
from aws_lambda import handler

class Reached(BaseException):
    pass

class Store:
    def put(self, event, deadline):
        raise Reached

handler.receiver._store = Store()
try:
    handler.handler(json.loads(sys.argv[1]), None)
except Reached:
    pass
else:
    os._exit(1)
"""
# In turns: boto3's call, the same call by the function's client, and the whole function.
_CALLS = """
import json, os, sys, time
import boto3
sys.stdout = open(os.devnull, "w")
from aws_lambda import handler

deliveries = [json.loads(line) for line in sys.stdin]
plain, put = boto3.client("dynamodb").put_item, handler.receiver._store.put
items = []
class Keep:
    def put(self, event, deadline):
        items.append(event)
        return put(event, deadline)
handler.receiver._store = Keep()
clock = time.perf_counter
times = ([], [], [])
store = put.__self__
for delivery in deliveries:
    started = clock()
    answer = handler.handler(delivery, None)
    times[2].append(clock() - started)
    assert answer["statusCode"] == 200, answer
    parameters = dict(
        TableName="events", Item=store._item(items.pop()), ConditionExpression="attribute_not_exists(device)"
    )
    for call, own in ((plain, times[0]), (store._put, times[1])):
        started = clock()
        call(**parameters)
        own.append(clock() - started)
print(json.dumps([sorted(own)[len(own) // 2] * 1e6 for own in times]), file=sys.__stdout__)
"""
_CALLS_PER_ROUND = 500


def measure(options: Options) -> Section:
    """Start everything in turns, ``options.rounds`` times but at least 15; then make calls, in as many rounds."""
    archive = zipped("aws", "aws_lambda")
    rounds = max(options.rounds, MIN_ROUNDS)
    with tempfile.TemporaryDirectory() as folder, stub() as address:
        environ = {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
        }
        package = _unpacked(archive, Path(folder))
        before = _files(package)
        bare, floors = _programs(package, environ)
        programs = [bare, *(program for floor, ours in floors.items() for program in (floor, *ours))]
        for program in programs:
            program.look()  # warms the caches
        times = in_turns(programs, rounds, "aws")
        rows = beside_floors(times, bare, floors)
        calls = _calls(environ, options.rounds)
        if _files(package) != before:
            raise CannotMeasure("Python wrote into the package, which Lambda would not have let it do.")
    plain, same, whole = (median(column) for column in zip(*calls, strict=True))
    added = median((whole - same) / plain for plain, same, whole in calls)
    in_all = median(whole / plain for plain, _, whole in calls)
    notes = (
        f"Wall time, {rounds} runs in turns, with warm caches and without the interpreter's clean-up at the end.",
        "The floor imports boto3 as pip installs it and makes the same clients, nothing else.",
        "The package is the zip, unpacked with the times of now; nothing may be written into it.",
        "It reads its settings, fetches the secret, verifies and parses a delivery, up to the call of the store.",
        f"Zipped {archive.stat().st_size:,} bytes, with all libraries inside.",
        (
            f"p50 of {_CALLS_PER_ROUND} calls in each of {options.rounds} rounds, to a server on this machine: boto3's "
            f"`put_item` {plain:,.0f} us; the same by our client {same:,.0f}; the whole function {whole:,.0f}."
        ),
        f"All that is ours adds {added:.3f} x one boto3 `put_item`; the whole function takes {in_all:.2f} x.",
        RATIOS,
    )
    return Section("aws: from nothing to the call of the store", FLOOR_HEADER, rows, notes)


def _programs(package: Path, environ: Mapping[str, str]) -> tuple[Program, dict[Program, list[Program]]]:
    """Return the bare interpreter; then, for each way to configure the package, its floor and the package."""
    event = (_event(),)
    managed, table = {"DT_SIGNATURE_SECRET_ID": "secret"}, {"DT_TABLE": "events"}
    queue = {"DT_STORE": "sqs", "DT_QUEUE_URL": environ["AWS_ENDPOINT_URL"] + "/queue", "DT_SEEN_TABLE": "seen"}

    def floor(*clients: str) -> Program:
        name = f"boto3, {' and '.join(clients)}"
        return Program(name, _FLOOR.format(clients=clients), environ=environ, path=SITE_PACKAGES)

    def ours(name: str, settings: Mapping[str, str]) -> Program:
        return Program(f"package, {name}", _START, event, {**environ, **settings}, package)

    return Program("bare Python", "pass", path=package), {
        floor("dynamodb", "secretsmanager"): [ours("as template.yaml deploys it", {**managed, **table})],
        floor("dynamodb"): [ours("secret in the environment", {"DT_SIGNATURE_SECRET": SECRET, **table})],
        floor("sqs", "dynamodb", "secretsmanager"): [ours("store SQS", {**managed, **queue})],
    }


def _event() -> str:
    """Return a delivery as a Function URL passes it."""
    body, token = fresh_delivery()
    return json.dumps(
        {
            "version": "2.0",
            "rawPath": "/",
            "headers": {"content-type": "application/json", "x-dt-signature": token, "host": "example.com"},
            "requestContext": {"http": {"method": "POST", "path": "/"}, "stage": "$default"},
            "body": body.decode(),
            "isBase64Encoded": False,
        }
    )


def _calls(environ: Mapping[str, str], rounds: int) -> list[tuple[float, float, float]]:
    """Return the median microseconds of boto3's call, of ours, and of the whole function, for each round."""
    settings = {"DT_SIGNATURE_SECRET_ID": "secret", "DT_TABLE": "events"}
    found = []
    for index in range(rounds):
        events = "\n".join(_event() for _ in range(_CALLS_PER_ROUND))
        printed = run(_CALLS, (), {**environ, **settings}, events)
        found.append(tuple(json.loads(printed.splitlines()[-1])))
        print(f"aws: calls, round {index + 1} of {rounds}", file=sys.stderr)
    return found


def _unpacked(archive: Path, folder: Path) -> Path:
    package = folder / "task"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(package)
    now = time.time()
    for path in package.rglob("*"):
        os.utime(path, (now, now))
        path.chmod(0o555 if path.is_dir() else 0o444)
    return package


def _files(package: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in package.rglob("*") if path.is_file())
