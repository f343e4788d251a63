"""The function on IBM Cloud as deployed: its cold start and memory, and its overhead over the store's call."""

import base64
import json
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
from ibmcloudant.cloudant_v1 import CloudantV1
from ibm_cloud_sdk_core.authenticators import ContainerAuthenticator
CloudantV1(ContainerAuthenticator(iam_profile_id="profile")).set_service_url("https://events.example.com")
"""
# `main` is in the package's __main__.py, which the runtime imports under another name.
_START = """
import importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("main__", os.environ["PACKAGE"] + "/__main__.py")
function = importlib.util.module_from_spec(spec)
spec.loader.exec_module(function)

class Reached(BaseException):
    pass

class Store:
    def put(self, event, deadline):
        raise Reached

function.receiver._store = Store()
try:
    function.receiver.handle(function.to_request(json.loads(sys.argv[1])))
except Reached:
    pass
else:
    sys.exit(1)
"""
_APP_FLOOR = f"import uvicorn\n{_FLOOR}"
_APP_START = """
import os
import ibm_actions.app
from server.serve import build_app
build_app(ibm_actions.app.build_async_receiver(os.environ))
"""
# In turns, with the same threads: only the PUT of a prepared document, by our client; the function; and the PUT by
# IBM's SDK with its defaults.
_CALLS = """
import base64, json, os, sys
sys.stdout = open(os.devnull, "w")
from datetime import UTC, datetime
import ibm_actions.__main__ as function
from core.event import parse_stored
from ibm_actions import cloudant
from ibmcloudant.cloudant_v1 import CloudantV1
from ibm_cloud_sdk_core.authenticators import BasicAuthenticator

threads = int(sys.argv[1])
deliveries = json.load(sys.stdin)
params = [
    {
        "__ce_method": "POST",
        "__ce_path": "/",
        "__ce_headers": {"X-Dt-Signature": token, "Content-Type": "application/json"},
        "__ce_body": base64.b64encode(body.encode()).decode(),
    }
    for token, body in deliveries
]
events = [parse_stored(body.encode(), datetime.now(UTC)) for _, body in deliveries]
encode = json.JSONEncoder(ensure_ascii=False).encode
made = [(cloudant.document_id(event), encode(cloudant._document(event)).encode()) for event in events]
service = function.receiver._store._cloudant
sdk = CloudantV1(BasicAuthenticator("user", "password"))
sdk.set_service_url(os.environ["DT_CLOUDANT"].replace("user:password@", ""))
headers = {"Authorization": service._login.header(0), "Content-Type": "application/json"}

def bare(number):
    name, document = made[number]
    answer = service._client.send("PUT", f"/events-2026-11/{name}", document, headers)
    assert json.loads(answer.data)["rev"]

def whole(number):
    assert function.main(params[number])["statusCode"] == 200

def by_sdk(number):
    name, document = made[number]
    assert sdk.put_document("events-2026-11", name, document, content_type="application/json").get_status_code() == 201

ways = (bare, whole, by_sdk)
for do in ways:
    run(do, len(params), threads)
found = [run(do, len(params), threads) for do in ways]
print(json.dumps(sum(found, ())), file=sys.__stdout__)
"""
_EVENTS = 400


def measure(options: Options) -> Section:
    """Start everything in turns, ``options.rounds`` times but at least 15; then make calls, in as many rounds."""
    archive = zipped("ibm", "ibm_actions")
    rounds = max(options.rounds, MIN_ROUNDS)
    with tempfile.TemporaryDirectory() as folder, stub() as address:
        bare, pairs = _programs(compiled(archive, Path(folder)))
        programs = [bare, *pairs, *pairs.values()]
        for program in programs:
            program.look()  # warms the caches
        times = in_turns(programs, rounds, "ibm")
        rows = beside_floors(times, bare, {floor: [ours] for floor, ours in pairs.items()})
        settings = {"DT_CLOUDANT": f"http://user:password@{address}", "DT_SIGNATURE_SECRET": SECRET}
        found = calls("ibm", RUN + _CALLS, {("PUT", threads): settings for threads in (1, 8)}, _EVENTS, options.rounds)
    notes = [
        f"Wall time, {rounds} runs in turns, with warm caches and without the interpreter's clean-up at the end.",
        "The floor imports ibmcloudant as pip installs it and makes a client for a trusted profile, nothing else.",
        "The package is the zip, compiled, with its libraries, and a trusted profile; no token is fetched.",
        "The function reads its settings, verifies and parses a delivery; the application is made, no more.",
        f"Zipped {archive.stat().st_size:,} bytes, without the libraries, which Code Engine's build installs.",
    ]
    for way, figures in found.items():
        notes.append(beside_bare(way, figures))
        notes.append(beside_other(way, figures, "The PUT alone by `ibmcloudant`"))
    notes += [
        f"Calls: {_EVENTS} events in each of {options.rounds} rounds, to a server on this machine, which does nothing.",
        "Bare: the same request by the same client, its document made beforehand. The function's has its log line.",
    ]
    return Section("ibm: from nothing to the call of the store", FLOOR_HEADER, rows, [*notes, RATIOS])


def _programs(package: Path) -> tuple[Program, dict[Program, Program]]:
    """Return the bare interpreter, and for the function and the application each its floor and the package."""
    path = f"{package}{os.pathsep}{SITE_PACKAGES}"
    environ = {
        "DT_CLOUDANT": "https://events.example.com",
        "DT_TRUSTED_PROFILE": "profile",
        "DT_SIGNATURE_SECRET": SECRET,
        "PACKAGE": str(package),
    }

    def program(name: str, code: str, *arguments: str, environ: Mapping[str, str] = environ) -> Program:
        return Program(name, code, arguments, environ, path)

    return program("bare Python", "pass"), {
        program("ibmcloudant", _FLOOR): program("package, function", _START, _params()),
        program("ibmcloudant and uvicorn", _APP_FLOOR): program("package, application", _APP_START),
    }


def _params() -> str:
    """Return a delivery as Code Engine passes it."""
    body, token = fresh_delivery()
    return json.dumps(
        {
            "__ce_method": "POST",
            "__ce_path": "/",
            "__ce_headers": {"X-Dt-Signature": token, "Content-Type": "application/json"},
            "__ce_body": base64.b64encode(body).decode(),
        }
    )
