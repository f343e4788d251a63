"""The function on Azure as deployed: its cold start and memory, and its cost beside the same calls of Azure's SDKs."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench import Options
from bench.functions import SITE_PACKAGES, beside_bare, calls, compiled, zipped
from bench.programs import FLOOR_HEADER, MIN_ROUNDS, Program, beside_floors, in_turns
from bench.report import Section
from bench.rounds import RATIOS
from bench.samples import fresh_delivery
from bench.stub import stub
from tests.support.deliveries import SECRET
from tests.support.service_bus import ServiceBus

# The floor of each store: the start of any such function.
_FLOORS = {
    "service_bus": """
from azure.servicebus import ServiceBusClient
ServiceBusClient.from_connection_string(sys.argv[1]).get_queue_sender("events")
""",
    "service_bus with an identity": """
from azure.servicebus import ServiceBusClient
from azure.identity import ManagedIdentityCredential
ServiceBusClient("events.servicebus.windows.net", ManagedIdentityCredential()).get_queue_sender("events")
""",
    "storage_queue": """
from azure.storage.queue import QueueClient
from azure.data.tables import TableClient
QueueClient.from_connection_string(sys.argv[1], "events")
TableClient.from_connection_string(sys.argv[1], "seenKeys")
""",
    "table": """
from azure.data.tables import TableClient
TableClient.from_connection_string(sys.argv[1], "events")
""",
}
_START = """
import sys
import function_app
from core.http import Request

class Reached(BaseException):
    pass

class Store:
    def put(self, event, deadline):
        raise Reached

function_app.receiver._store = Store()
request = Request("POST", "/events", [("x-dt-signature", sys.argv[1])], sys.argv[2].encode())
try:
    handling = function_app.receiver.handle(request)
    handling.send(None)
except Reached:
    pass
else:
    sys.exit(1)
"""
# In turns, with the same concurrency: only the calls of Azure's SDKs, with prepared arguments, and the receiver.
_CALLS = """
import asyncio, json, logging, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from azure.core.exceptions import ResourceNotFoundError
from azure_functions import function_app
from core.event import parse_stored
from core.http import Request

at_a_time, store = int(sys.argv[1]), os.environ["DT_STORE"]
logging.getLogger().addHandler(logging.StreamHandler(open(os.devnull, "w")))
logging.getLogger().setLevel(logging.INFO)
receiver = function_app.receiver
clients = {}

# One for each concurrent caller: the SDK's senders may not be shared.
def client_of(at):
    if at not in clients:
        if store == "service_bus":
            from azure.servicebus.aio import ServiceBusClient
            client = ServiceBusClient.from_connection_string(os.environ["DT_SERVICE_BUS"])
            clients[at] = client.get_queue_sender("events")
        else:
            from azure.data.tables import TableClient
            from azure.storage.queue import QueueClient
            connection = os.environ["DT_STORAGE"]
            clients[at] = [
                QueueClient.from_connection_string(connection, "events"),
                *(TableClient.from_connection_string(connection, name) for name in ("events", "seenKeys")),
            ]
    return clients[at]

def call_of(event):
    fields = {**event.attributes(), "parsed": True}
    if store == "service_bus":
        from azure.servicebus import ServiceBusMessage
        async def call(at):
            message = ServiceBusMessage(event.body, message_id=event.key, application_properties=fields)
            await client_of(at).send_messages(message, timeout=3)
        return call
    entity = {"PartitionKey": event.device_id, "RowKey": event.key, **fields, "body": event.body}
    text, no_content = event.body.decode(), {"response_preference": "return-no-content"}
    def call(at):
        queue, events, seen = client_of(at)
        if store == "table":
            events.create_entity(entity, **no_content)
            return
        try:
            seen.get_entity(event.key, "", select=["PartitionKey"])
        except ResourceNotFoundError:
            pass
        queue.send_message(text, time_to_live=-1)
        seen.create_entity({"PartitionKey": event.key, "RowKey": ""}, **no_content)
    return call

def handling_of(request):
    async def handle(at):
        assert (await receiver.handle(request)).status == 200
    return handle

async def run(work):
    times = []
    async def one(at):
        for do in work[at::at_a_time]:
            begun = time.perf_counter()
            await do(at)
            times.append(time.perf_counter() - begun)
    def one_of_threads(at):
        for do in work[at::at_a_time]:
            begun = time.perf_counter()
            do(at)
            times.append(time.perf_counter() - begun)
    started = time.perf_counter()
    if asyncio.iscoroutinefunction(work[0]):
        await asyncio.gather(*(one(at) for at in range(at_a_time)))
    else:
        with ThreadPoolExecutor(at_a_time) as pool:
            list(pool.map(one_of_threads, range(at_a_time)))
    took = time.perf_counter() - started
    return sorted(times)[len(times) // 2] * 1e6, len(work) / took

async def main():
    deliveries = json.load(sys.stdin)
    quarter = len(deliveries) // 4
    for part in range(0, len(deliveries), 2 * quarter):
        some = deliveries[part:part + quarter], deliveries[part + quarter:part + 2 * quarter]
        calls = [call_of(parse_stored(body.encode(), datetime.now(UTC))) for _, body in some[0]]
        requests = [Request("POST", "/", [("x-dt-signature", token)], body.encode()) for token, body in some[1]]
        found = [*await run(calls), *await run([handling_of(request) for request in requests])]
    print(json.dumps(found))

asyncio.run(main())
"""
_EVENTS = 300


def measure(options: Options) -> Section:
    """Start everything in turns, ``options.rounds`` times but at least 15; then make calls, in as many rounds."""
    archive = zipped("azure", "azure_functions")
    rounds = max(options.rounds, MIN_ROUNDS)
    with tempfile.TemporaryDirectory() as folder, stub() as address:
        storage = (
            "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;"
            f"QueueEndpoint=http://{address}/account;TableEndpoint=http://{address}/account;"
        )
        bus = ServiceBus(Path(folder), "events")
        bus.start()
        try:
            package = compiled(archive, Path(folder))
            bare, pairs = _programs(package, {"service_bus": bus.connection_string, "storage": storage})
            programs = [bare, *pairs, *pairs.values()]
            for program in programs:
                program.look()  # warms the caches
            times = in_turns(programs, rounds, "azure")
            rows = beside_floors(times, bare, {floor: [ours] for floor, ours in pairs.items()})
            names = {"DT_SERVICE_BUS": bus.connection_string, "DT_STORAGE": storage, "DT_SIGNATURE_SECRET": SECRET}
            ways = {
                (store, at_a_time): {**names, "DT_STORE": store}
                for store in ("service_bus", "storage_queue", "table")
                for at_a_time in (1, 8)
            }
            # Each way, plus one call to warm up.
            found = calls("azure", _CALLS, ways, 4 * _EVENTS, options.rounds)
        finally:
            bus.close()
    notes = [
        f"Wall time, {rounds} runs in turns, with warm caches and without the interpreter's clean-up at the end.",
        "A floor imports azure.functions and the SDK of the store, and makes its clients, nothing else.",
        "The package is the zip, compiled, with its libraries; it reads its settings, verifies and parses a delivery.",
        f"Zipped {archive.stat().st_size:,} bytes, without the libraries, which Azure installs.",
    ]
    notes += [beside_bare(way, figures) for way, figures in found.items()]
    notes += [
        f"Calls: {_EVENTS} events in each of {options.rounds} rounds, to servers on this machine.",
        "For Service Bus, the tests' own, which writes messages to a file; for Azure Storage, one that does nothing.",
        "Bare: the same calls by Azure's SDKs, what they are given made beforehand.",
        "The function's time has its log line in it.",
    ]
    return Section("azure: from nothing to the call of the store", FLOOR_HEADER, rows, [*notes, RATIOS])


def _programs(package: Path, connections: Mapping[str, str]) -> tuple[Program, dict[Program, Program]]:
    """Return the bare interpreter, and for each floor the package with the same store."""
    body, token = fresh_delivery()
    path = f"{package}{os.pathsep}{SITE_PACKAGES}"
    pairs = {}
    for name, code in _FLOORS.items():
        store, _, identity = name.partition(" ")
        connection = connections.get(store, connections["storage"])
        names = {"DT_STORE": store, "DT_STORAGE": connection, "DT_SIGNATURE_SECRET": SECRET}
        names["DT_SERVICE_BUS"] = "events.servicebus.windows.net" if identity else connection
        floor = Program(f"SDK, {name}", "import sys\nimport azure.functions" + code, (connection,), path=path)
        pairs[floor] = Program(f"package, {name}", _START, (token, body.decode()), names, path)
    return Program("bare Python", "pass", path=path), pairs
