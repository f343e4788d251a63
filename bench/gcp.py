"""The Cloud Run function as deployed: its cold start and memory, and its overhead over its store's calls."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench import Options
from bench.functions import RUN, SITE_PACKAGES, beside_bare, beside_other, calls, compiled, zipped
from bench.programs import FLOOR_HEADER, MIN_ROUNDS, Program, beside_floors, in_turns
from bench.report import Section
from bench.rounds import RATIOS
from bench.samples import fresh_delivery
from bench.stub import stub
from tests.support.deliveries import SECRET

# The floor: the start of any such function.
_FLOOR = """
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import PublisherClient
PublisherClient(credentials=AnonymousCredentials())
"""
# The framework has loaded Flask before it loads a function.
_START = """
import sys
import main
from core.http import Request

class Reached(BaseException):
    pass

class Store:
    def put(self, event, deadline):
        raise Reached

main.receiver._store = Store()
try:
    main.receiver.handle(Request("POST", "/", [("X-Dt-Signature", sys.argv[1])], sys.argv[2].encode()))
except Reached:
    pass
else:
    sys.exit(1)
"""
# In turns, with the same threads: only the store's calls, with prepared documents, and the receiver.
_CALLS = """
import json, os, sys
sys.stdout = open(os.devnull, "w")
from gcp_functions import main
from gcp_functions.service import Service
from core.http import Request

threads = int(sys.argv[1])
requests = [Request("POST", "/", [("X-Dt-Signature", token)], body.encode()) for token, body in json.load(sys.stdin)]
made = []
real = Service.call
def record(self, method, path, deadline, document=None, **options):
    made.append((self._client, method, path, None if document is None else json.dumps(document).encode()))
    return real(self, method, path, deadline, document, **options)
Service.call = record
for request in requests:
    assert main.receiver.handle(request).status == 200
Service.call = real
per_event = len(made) // len(requests)
headers = {"Content-Type": "application/json"}
def bare(number):
    for client, method, path, body in made[number * per_event:(number + 1) * per_event]:
        json.loads(client.send(method, path, body, headers).data)
def whole(number):
    main.receiver.handle(requests[number])
count = len(requests)
run(bare, count, threads), run(whole, count, threads)
found = [*run(bare, count, threads), *run(whole, count, threads)]
import grpc
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
generated = PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(os.environ["GRPC"])))
def publish(number):
    attributes = {"key": "x" * 60, "receivedAt": "2026-11-21T10:58:35.341000Z"}
    message = {"data": requests[number].body, "attributes": attributes}
    generated.publish(topic="projects/p/topics/t", messages=[message], timeout=2, retry=None)
run(publish, count, threads)
print(json.dumps([*found, *run(publish, count, threads)]), file=sys.__stdout__)
"""
_EVENTS = 400
_KINDS = {"publish alone": "none", "look-up, publish and mark": "firestore"}


def measure(options: Options) -> Section:
    """Start everything in turns, ``options.rounds`` times but at least 15; then make calls, in as many rounds."""
    archive = zipped("gcp", "gcp_functions")
    rounds = max(options.rounds, MIN_ROUNDS)
    with tempfile.TemporaryDirectory() as folder, stub() as address:
        environ = {
            "PUBSUB_EMULATOR_HOST": address,
            "FIRESTORE_EMULATOR_HOST": address,
            "DT_SIGNATURE_SECRET": SECRET,
            "DT_TOPIC": "projects/p/topics/t",
            "DT_FIRESTORE": "projects/p/databases/d",
        }
        package = compiled(archive, Path(folder))
        bare, floor, *ours = programs = _programs(package, environ)
        for program in programs:
            program.look()  # warms the caches
        times = in_turns(programs, rounds, "gcp")
        rows = beside_floors(times, bare, {floor: ours})
        with stub("bench.grpc_stub") as grpc:
            settings = {**environ, "GRPC": grpc}
            ways = {
                (name, threads): {**settings, "DT_SEEN_KEYS": seen_keys}
                for name, seen_keys in _KINDS.items()
                for threads in (1, 8)
            }
            found = calls("gcp", RUN + _CALLS, ways, _EVENTS, options.rounds)
    notes = [
        f"Wall time, {rounds} runs in turns, with warm caches and without the interpreter's clean-up at the end.",
        "The floor imports the generated publisher as pip installs it and creates one, nothing else.",
        "The package is the zip, compiled, with its libraries; it reads its settings, verifies and parses a delivery.",
        "Neither logs in: both have no credentials, as beside an emulator.",
        f"Zipped {archive.stat().st_size:,} bytes, without the libraries, which the buildpack installs.",
    ]
    for way, figures in found.items():
        notes.append(beside_bare(way, figures))
        notes.append(beside_other(way, figures, "Publishing alone by the generated client"))
    notes += [
        f"Calls: {_EVENTS} events in each of {options.rounds} rounds, to servers on this machine, which do nothing.",
        "Bare: the same requests by the same client, made beforehand. The function's time has its log line in it.",
    ]
    return Section("gcp: from nothing to the call of the store", FLOOR_HEADER, rows, [*notes, RATIOS])


def _programs(package: Path, environ: Mapping[str, str]) -> list[Program]:
    """Return the bare interpreter, the floor, and the package with each store."""
    body, token = fresh_delivery()
    path = f"{package}{os.pathsep}{SITE_PACKAGES}"

    def ours(name: str, store: str) -> Program:
        return Program(f"package, {name}", _START, (token, body.decode()), {**environ, "DT_STORE": store}, path)

    return [
        Program("bare Python", "pass", path=path),
        Program("generated publisher", _FLOOR, path=path),
        ours("Pub/Sub, keys in Firestore", "pubsub"),
        ours("Firestore", "firestore"),
    ]
