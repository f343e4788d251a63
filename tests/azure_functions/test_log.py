"""The log: levels and logger names at the worker's handler, and no line of the SDKs."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from azure_functions.log import build_log
from core.log import Severity
from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.deliveries import fresh_body, signed
from tests.support.loopback import DROPPED, Reply, in_turn, loopback
from tests.support.processes import Program
from tests.support.service_bus import service_bus

Function = Callable[..., AbstractContextManager[Program]]
Run = Callable[..., str]

# The worker keeps these names from the function's log, and gives all others to it:
# https://github.com/Azure/azure-functions-python-worker/blob/dev/workers/proxy_worker/logging.py
SYSTEM = ("proxy_worker", "azure_functions_worker", "azure_functions_runtime", "azure.functions")


@pytest.mark.parametrize(
    ("severity", "level"), [("INFO", logging.INFO), ("WARNING", logging.WARNING), ("ERROR", logging.ERROR)]
)
def test_log_line_has_its_level_and_logger_name(
    severity: Severity, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    build_log({}).request(severity, "stored", status=200, seconds=0.1, size=3, reason="100 %s of %d")
    [record] = caplog.records
    assert record.levelno == level
    assert not record.name.startswith(SYSTEM)
    line = json.loads(record.getMessage())
    assert (line["severity"], line["reason"]) == (severity, "100 %s of %d")


def test_logger_names_reserved_by_the_worker() -> None:
    runtime = pytest.importorskip(
        "azure_functions_runtime.logging",
        reason="no azure-functions-runtime: install Python 3.13, which it wants, then `make test` installs it",
    )
    assert runtime.logger.name.startswith(SYSTEM)
    assert runtime.SDK_LOG_PREFIX in SYSTEM


def test_startup_notice_reaches_the_host_without_a_request(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    build_log({}).notice("WARNING", "Look here.")
    assert json.loads(capsys.readouterr().err) == {"severity": "WARNING", "message": "Look here."}
    assert caplog.records == []


# Prints every record of the root logger, with the traceback that the worker's handler would format too.
LOUD = """
import logging, sys

handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("LOGGED %(name)s %(levelname)s %(message)s"))
logging.getLogger().addHandler(handler)
"""
SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0cw=="
HIDDEN = (SECRET.rstrip("="), "samples", "eyJ")


def _said(program: Program) -> list[str]:
    """Return the names of the loggers that logged, without the receiver's and the worker's."""
    lines = [line.split() for line in program.output().splitlines() if line.startswith("LOGGED ")]
    return [name for _, name, *_ in lines if name != "receiver" and not name.startswith(SYSTEM)]


def _fails(function: Function, *sitecustomize: str, **environ: str) -> tuple[list[str], str]:
    """Make a delivery that cannot be stored; return the loggers that logged, and the output."""
    with function("".join(sitecustomize), **environ) as program:
        content = fresh_body()
        assert program.request("POST", "/events", signed(content), content).status == 503
        [line] = program.wait_for_lines(1)
        assert line["severity"] == "ERROR"
        # The receiver's own line goes through the same handler, with its level.
        assert "LOGGED receiver ERROR {" in program.output()
        return _said(program), program.output()


def _is_silent(function: Function, **environ: str) -> None:
    said, output = _fails(function, LOUD, **environ)
    assert said == []
    assert not any(hidden in output for hidden in HIDDEN)


@pytest.mark.parametrize("mode", ["lost", "denied"])
def test_service_bus_logs_nothing(mode: str, function: Function, tmp_path: Path) -> None:
    with service_bus(tmp_path, "events") as bus:
        bus.set(mode)
        connection = bus.connection_string.replace("c2VjcmV0", SECRET)
        _is_silent(function, DT_SERVICE_BUS=connection)


REPLIES = {
    "an answer that quotes": Reply(403, b'{"odata.error":{"code":"X","message":{"value":"%s"}}}' % SECRET.encode()),
    "none": DROPPED,
}


@pytest.mark.parametrize("store", ["storage_queue", "table"])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_azure_storage_logs_nothing(reply: Reply | None, store: str, function: Function) -> None:
    with loopback(in_turn(reply)) as server:
        connection = (
            f"AccountName=a;AccountKey={SECRET};QueueEndpoint={server.url}/a;TableEndpoint={server.url}/a;"
            "DefaultEndpointsProtocol=http;"
        )
        _is_silent(function, DT_STORE=store, DT_STORAGE=connection)


def test_identity_logs_nothing(function: Function) -> None:
    with loopback(in_turn(Reply(400, b'{"statusCode":400,"message":"%s"}' % SECRET.encode()))) as server:
        endpoint = {"IDENTITY_ENDPOINT": f"{server.url}/msi/token", "IDENTITY_HEADER": SECRET}
        _is_silent(function, DT_STORE="table", DT_STORAGE="tests", **endpoint)


# A log that cannot be written.

BROKEN = """
import logging

class Broken(logging.Handler):
    def emit(self, record):
        if record.name == "receiver":
            raise {error}

logging.getLogger().addHandler(Broken())
"""


@pytest.mark.parametrize(
    "error", ["OSError(28, 'No space left')", "RuntimeError('no dispatcher')", "ValueError('closed')"]
)
def test_log_write_failure_refuses_no_event(error: str, function: Function, azurite: Azurite) -> None:
    storage = Storage(azurite)
    environ = {"DT_STORE": "table", "DT_TABLE": storage.table}
    connection = connection_string(azurite.queue_port, azurite.table_port)
    with function(BROKEN.format(error=error), DT_STORAGE=connection, **environ) as program:
        content = fresh_body()
        assert program.request("POST", "/events", signed(content), content).status == 200
        assert program.request("POST", "/events", {}, content).status == 401
        assert program.request("GET", "/healthz").status == 200
    assert [each["body"] for each in storage.entities()] == [content]


def test_closed_log_stream_refuses_no_event(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    stream = (tmp_path / "log").open("w")
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        stream.close()
        build_log({}).request("ERROR", "failed", status=503, seconds=0.1, size=3)
    finally:
        logging.getLogger().removeHandler(handler)
    assert len(caplog.records) == 1
