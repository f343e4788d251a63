"""The function as Google serves it, and requests to it."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.deliveries import SECRET, fresh_body, hs256
from tests.support.google import Firestore
from tests.support.processes import ROOT, Answer, Program, running

FORGED = "a forger's secret, as long as it should be"
STORED, DUPLICATE = (200, "stored"), (200, "duplicate")


def function(folder: Path, **environ: str | None) -> AbstractContextManager[Program]:
    """Start the function with only these variables; None leaves a default out."""
    usual: dict[str, str | None] = {
        "FUNCTION_SOURCE": str(ROOT / "gcp_functions" / "main.py"),
        "FUNCTION_TARGET": "receive",
        "DT_SIGNATURE_SECRET": SECRET,
        # Without credentials, and without a look-up of the metadata server.
        "HOME": str(folder),
        "NO_GCE_CHECK": "true",
    }
    given = {name: value for name, value in (usual | environ).items() if value is not None}
    return running("functions_framework", given, folder)


def post(program: Program, content: bytes | None = None, secret: str = SECRET, **headers: str) -> Answer:
    content = fresh_body() if content is None else content
    head = {"Content-Type": "application/json", "X-Dt-Signature": hs256(content, secret)}
    return program.request(
        "POST", "/", head | {name.replace("_", "-"): value for name, value in headers.items()}, content
    )


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("event-outcome")


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and the type of a problem document, which Flask itself never sends."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, json.loads(answer.body)["type"].rsplit(":", 1)[1]


def at_once(programs: list[Callable[[], object]]) -> None:
    """Run each on its own thread, concurrently."""
    begin = threading.Barrier(len(programs))

    def run(program: Callable[[], object]) -> None:
        begin.wait()
        program()

    threads = [threading.Thread(target=run, args=(program,)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


TOPIC, DATABASE = "projects/p/topics/t", "projects/p/databases/d"


def stored(database: Firestore) -> Counter[bytes]:
    return Counter(document["body"] for document in database.documents())


TRACE = "105445aa7843bc8bf206b12000100000"


def raw(program: Program, data: bytes, *more: bytes) -> bytes:
    """Send bytes, and each further part after an answer; return all answers."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=10) as connection:
        connection.sendall(data)
        found = b""
        for part in more:
            found += connection.recv(65_536)
            connection.sendall(part)
        while piece := connection.recv(65_536):
            found += piece
    return found
