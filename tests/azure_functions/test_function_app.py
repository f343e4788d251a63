"""The function in Azure's worker: indexing, settings and imports."""

import json
import re
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from tests.support.azurite import Azurite, connection_string
from tests.support.deliveries import ORGANIZATION, SECRET, fresh_body, hs256, signed
from tests.support.es256 import JWKS
from tests.support.processes import Answer, Program
from tests.support.service_bus import service_bus

Index = Callable[..., Any]
Function = Callable[..., AbstractContextManager[Program]]

# Nothing listens there.
BUS = "Endpoint=sb://127.0.0.1:9;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0;UseDevelopmentEmulator=true;"
STORAGE = connection_string(9, 9)
STORES = {
    "service_bus": {"DT_SERVICE_BUS": BUS},
    "storage_queue": {"DT_STORAGE": STORAGE},
    "table": {"DT_STORAGE": STORAGE},
}


def post(program: Program, content: bytes | None = None, secret: str = SECRET) -> Answer:
    content = fresh_body() if content is None else content
    return program.request("POST", "/events", {"X-Dt-Signature": hs256(content, secret)}, content)


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and the type of a problem document, which the host itself never sends."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, json.loads(answer.body)["type"].rsplit(":", 1)[1]


def trigger(indexed: Any) -> Any:
    [found] = indexed["functions"]
    return found["bindings"][0]


# What the worker finds.


def test_one_http_trigger_for_every_path_and_method(index: Index) -> None:
    [found] = index(DT_SIGNATURE_SECRET=SECRET, DT_SERVICE_BUS=BUS)["functions"]
    assert found == {
        "name": "receive",
        "is_async": True,
        "bindings": [
            # No list of methods, which are then all of them:
            # https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook-trigger#decorators
            {
                "direction": "IN",
                "type": "httpTrigger",
                "name": "req",
                "authLevel": "ANONYMOUS",
                "route": "{*path}",
            },
            {"direction": "OUT", "type": "http", "name": "$return"},
        ],
    }


@pytest.mark.parametrize("store", [None, "", "service_bus", "storage_queue", "table", "cosmos"])
def test_indexed_function_is_the_same_for_every_store(store: str | None, index: Index) -> None:
    environ = {} if store is None else {"DT_STORE": store}
    [found] = index(DT_SIGNATURE_SECRET=SECRET, DT_SERVICE_BUS=BUS, DT_STORAGE=STORAGE, **environ)["functions"]
    assert (found["name"], found["is_async"]) == ("receive", True)


LEVELS = {
    None: "ANONYMOUS",
    "": "ANONYMOUS",
    "anonymous": "ANONYMOUS",
    "function": "FUNCTION",
    "Anonymous": "FUNCTION",
    "anonymous ": "FUNCTION",
    "admin": "FUNCTION",
    "none": "FUNCTION",
}


@pytest.mark.parametrize("level", LEVELS)
def test_auth_level_is_anonymous_only_if_set_so(level: str | None, index: Index) -> None:
    environ = {} if level is None else {"DT_AUTH_LEVEL": level}
    indexed = index(DT_SIGNATURE_SECRET=SECRET, DT_SERVICE_BUS=BUS, **environ)
    assert trigger(indexed)["authLevel"] == LEVELS[level]


def test_function_is_indexed_with_invalid_settings(index: Index) -> None:
    """Otherwise the host would have no function, and no answer would say why."""
    for environ in ({}, {"DT_STORE": "table"}, {"DT_STORE": "storage_queue"}, {"DT_STORE": "cosmos"}):
        [found] = index(**environ)["functions"]
        assert found["name"] == "receive"


# Settings.

# Everywhere a value might leak.
HIDDEN = "c2VjcmV0LW9mLXRoZS10ZXN0cw"
WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "no namespace": ({"DT_SERVICE_BUS": None}, "DT_SERVICE_BUS"),
    "empty namespace": ({"DT_SERVICE_BUS": ""}, "DT_SERVICE_BUS"),
    "a namespace's short name": ({"DT_SERVICE_BUS": HIDDEN}, "DT_SERVICE_BUS"),
    "a namespace's address": ({"DT_SERVICE_BUS": f"sb://{HIDDEN}.servicebus.windows.net"}, "DT_SERVICE_BUS"),
    "a namespace and more": ({"DT_SERVICE_BUS": f"{HIDDEN}.servicebus.windows.net/events"}, "DT_SERVICE_BUS"),
    "a namespace and a line end": ({"DT_SERVICE_BUS": f"{HIDDEN}.servicebus.windows.net\n"}, "DT_SERVICE_BUS"),
    "a key alone": ({"DT_SERVICE_BUS": f"SharedAccessKey={HIDDEN}"}, "DT_SERVICE_BUS"),
    "a key without a name": (
        {"DT_SERVICE_BUS": f"Endpoint=sb://a.servicebus.windows.net/;SharedAccessKey={HIDDEN}="},
        "DT_SERVICE_BUS",
    ),
    "another queue in the connection string": ({"DT_SERVICE_BUS": f"{BUS}EntityPath={HIDDEN};"}, "DT_SERVICE_BUS"),
    "a connection string of Storage's": (
        {"DT_SERVICE_BUS": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={HIDDEN}=="},
        "DT_SERVICE_BUS",
    ),
    "anything with an equals sign": ({"DT_SERVICE_BUS": f"={HIDDEN};;=="}, "DT_SERVICE_BUS"),
    **{
        f"a table, {what}": ({"DT_STORE": "table", "DT_STORAGE": value}, "DT_STORAGE")
        for what, value in {
            "no account": None,
            "empty account": "",
            "upper case": HIDDEN,
            "a short name": "ab",
            "a long name": "a" * 25,
            "an account's address": f"https://{HIDDEN}.table.core.windows.net",
            "a key alone": f"AccountKey={HIDDEN}==",
            "no key": f"DefaultEndpointsProtocol=https;AccountName={HIDDEN}",
            "a connection string of Service Bus's": (
                f"Endpoint=sb://a.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey={HIDDEN}="
            ),
            "anything with an equals sign": f"={HIDDEN};;==",
        }.items()
    },
    "a queue, no account": ({"DT_STORE": "storage_queue", "DT_STORAGE": None}, "DT_STORAGE"),
    "a queue, a key alone": ({"DT_STORE": "storage_queue", "DT_STORAGE": f"AccountKey={HIDDEN}=="}, "DT_STORAGE"),
    "another store": ({"DT_STORE": "cosmos"}, "DT_STORE"),
    "a store in capitals": ({"DT_STORE": "TABLE"}, "DT_STORE"),
    "another level": ({"DT_AUTH_LEVEL": HIDDEN}, "DT_AUTH_LEVEL"),
    "another level, and a store that waits": ({"DT_AUTH_LEVEL": HIDDEN, "DT_STORE": "table"}, "DT_AUTH_LEVEL"),
    "no secret": ({"DT_SIGNATURE_SECRET": None}, "DT_SIGNATURE_SECRET"),
    "empty secret": ({"DT_SIGNATURE_SECRET": ""}, "DT_SIGNATURE_SECRET"),
    "no secret, and a store that waits": ({"DT_SIGNATURE_SECRET": None, "DT_STORE": "table"}, "DT_SIGNATURE_SECRET"),
}


@pytest.mark.parametrize(("changes", "variable"), WRONG.values(), ids=WRONG.keys())
def test_invalid_settings_are_reported_at_each_delivery(
    changes: dict[str, str | None], variable: str, function: Function
) -> None:
    with function(**{"DT_SERVICE_BUS": BUS, "DT_STORAGE": STORAGE} | changes) as program:
        # A wrong level is logged at the start too: the host then refuses every request, so no request has a line.
        said = [(line["severity"], line["message"].split()[0]) for line in program.lines()]
        assert said == ([("ERROR", "DT_AUTH_LEVEL")] if variable == "DT_AUTH_LEVEL" else [])
        for count in (len(said) + 1, len(said) + 2):
            answer = post(program)
            assert problem(answer) == (503, "unavailable")
            assert variable.encode() not in answer.body
            lines = program.wait_for_lines(count)
            assert len(lines) == count
            assert (lines[-1]["severity"], lines[-1]["outcome"]) == ("ERROR", "failed")
            assert re.search(rf"\b{variable}\b", lines[-1]["reason"])
            assert lines[-1]["message"].endswith(".")
        assert program.request("GET", "/events").status == 405
        assert SECRET not in program.output()
        assert HIDDEN not in program.output()
        assert "Traceback" not in program.output()


REFERENCE = "@Microsoft.KeyVault(SecretUri=https://anybody.vault.azure.net/secrets/guesses-this/)"


@pytest.mark.parametrize(
    ("reference", "store"),
    [
        (REFERENCE, "service_bus"),
        (REFERENCE, "table"),
        (REFERENCE.lower(), "service_bus"),
        (f" {REFERENCE}", "service_bus"),
        ("@Microsoft.KeyVault(VaultName=anybody;SecretName=x)", "service_bus"),
    ],
)
def test_unresolved_key_vault_reference_is_not_a_secret(reference: str, store: str, function: Function) -> None:
    """Azure leaves the reference in the setting, and it can be guessed from the vault's name."""
    with function(DT_STORE=store, **STORES[store], DT_SIGNATURE_SECRET=reference) as program:
        assert problem(post(program, secret=reference)) == (503, "unavailable")
        [line] = program.wait_for_lines(1)
        assert line["severity"] == "ERROR"
        assert "DT_SIGNATURE_SECRET" in line["reason"]
        assert "Key Vault" in line["reason"]
        assert "anybody" not in program.output()


@pytest.mark.parametrize("variable", ["DT_SERVICE_BUS", "DT_STORAGE", "DT_ORGANIZATION_ID", "DT_JWKS", "DT_PROJECT_ID"])
def test_unresolved_key_vault_reference_in_another_setting_is_refused(variable: str, function: Function) -> None:
    environ = {**STORES["service_bus"], variable: REFERENCE}
    with function(**environ) as program:
        assert problem(post(program)) == (503, "unavailable")
        [line] = program.wait_for_lines(1)
        assert re.search(rf"\b{variable}\b.*Key Vault", line["reason"])
        assert "anybody" not in program.output()


def test_unresolved_key_vault_reference_in_a_foreign_variable_is_ignored(function: Function, tmp_path: Path) -> None:
    with (
        service_bus(tmp_path, "events") as bus,
        function(DT_SERVICE_BUS=bus.connection_string, ANOTHER=REFERENCE) as program,
    ):
        assert post(program).status == 200


# Names that are not set.


def _make(azurite: Azurite, queue: str, *tables: str) -> tuple[QueueClient, list[TableClient]]:
    """Make a queue and tables, unless they are there."""
    connection = connection_string(azurite.queue_port, azurite.table_port)
    made = QueueClient.from_connection_string(connection, queue)
    clients = [TableClient.from_connection_string(connection, name) for name in tables]
    creations: list[Callable[[], object]] = [made.create_queue, *(each.create_table for each in clients)]
    for create in creations:
        try:
            create()
        except ResourceExistsError:
            pass
    return made, clients


def _key(content: bytes) -> str:
    event = json.loads(content)["event"]
    return f"{event['eventId']}.{event['eventType']}.emucdd6ef2eu277bo8f52vg"


USUAL = ("events", "events", "seenKeys")
NAMES = {
    "not set": ({}, USUAL),
    "empty": ({"DT_QUEUE": "", "DT_TABLE": "", "DT_SEEN_TABLE": ""}, USUAL),
    "set": (
        {"DT_QUEUE": "q-of-tests", "DT_TABLE": "tOfTests", "DT_SEEN_TABLE": "sOfTests"},
        ("q-of-tests", "tOfTests", "sOfTests"),
    ),
}


@pytest.mark.parametrize(("environ", "names"), NAMES.values(), ids=NAMES.keys())
def test_default_names_of_queue_and_tables(
    environ: dict[str, str], names: tuple[str, str, str], function: Function, azurite: Azurite
) -> None:
    queue, (table, seen) = _make(azurite, *names)
    connection = connection_string(azurite.queue_port, azurite.table_port)
    with function(DT_STORE="table", DT_STORAGE=connection, **environ) as program:
        content = fresh_body()
        assert post(program, content).status == 200
        assert [each["body"] for each in table.query_entities(f"key eq '{_key(content)}'")] == [content]
    with function(DT_STORE="storage_queue", DT_STORAGE=connection, **environ) as program:
        content = fresh_body()
        assert post(program, content).status == 200
        assert [each["PartitionKey"] for each in seen.query_entities(f"PartitionKey eq '{_key(content)}'")]
        bodies = [json.loads(str(each.content))["body"] for each in queue.receive_messages()]
        assert content.decode() in bodies


@pytest.mark.parametrize(("environ", "names"), NAMES.values(), ids=NAMES.keys())
def test_default_name_of_the_service_bus_queue(
    environ: dict[str, str], names: tuple[str, str, str], function: Function, tmp_path: Path
) -> None:
    with service_bus(tmp_path, names[0]) as bus, function(DT_SERVICE_BUS=bus.connection_string, **environ) as program:
        content = fresh_body()
        assert post(program, content).status == 200
        assert [(each["queue"], each["body"]) for each in bus.messages()] == [(names[0], content)]


# Imports and the garbage collector.

SDKS = {
    "azure.core",
    "azure.data.tables",
    "azure.identity",
    "azure.servicebus",
    "azure.storage.queue",
    "cryptography",
    "jwt",
    "requests",
    "urllib3",
}
OURS = {"azure_functions.service_bus", "azure_functions.storage_queue", "azure_functions.table"}
NAMESPACE = "tests.servicebus.windows.net"
IMPORTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "service_bus by key": ({"DT_SERVICE_BUS": BUS}, {"azure_functions.service_bus"}),
    "service_bus by identity": ({"DT_SERVICE_BUS": NAMESPACE}, {"azure_functions.service_bus"}),
    "table": ({"DT_STORE": "table", "DT_STORAGE": "tests"}, {"azure_functions.table"}),
    "storage_queue": (
        {"DT_STORE": "storage_queue", "DT_STORAGE": STORAGE},
        {"azure_functions.storage_queue", "azure_functions.table"},
    ),
    "ES256": (
        {"DT_SERVICE_BUS": BUS, "DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS},
        {"azure_functions.service_bus", "jwt", "cryptography"},
    ),
}


@pytest.mark.parametrize(("environ", "expected"), IMPORTS.values(), ids=IMPORTS.keys())
def test_cold_start_imports_only_its_store(environ: dict[str, str], expected: set[str], index: Index) -> None:
    modules = set(index(DT_SIGNATURE_SECRET=SECRET, **environ)["modules"])
    assert modules & (SDKS | OURS) == expected


@pytest.mark.parametrize("store", STORES)
def test_garbage_collector_is_disabled_during_the_imports(store: str, index: Index) -> None:
    """Afterwards it is enabled, and the objects of the imports are frozen."""
    found = index(DT_SIGNATURE_SECRET=SECRET, DT_STORE=store, **STORES[store])["collector"]
    assert found["is_enabled"]
    assert found["frozen"] > 10_000
    # One collection may run after the imports; without the freeze there are dozens.
    assert found["runs"] <= 1


# A bug.

BUG = """
import azure_functions.service_bus, azure_functions.storage_queue, azure_functions.table

def fails(event):
    raise ZeroDivisionError(event.body)

azure_functions.service_bus._message = fails
azure_functions.storage_queue._message = fails
azure_functions.table._entity = fails
"""


@pytest.mark.parametrize("store", STORES)
def test_unexpected_exception_is_500_and_one_log_line(store: str, function: Function, azurite: Azurite) -> None:
    _make(azurite, "events", "events", "seenKeys")
    connection = connection_string(azurite.queue_port, azurite.table_port)
    with function(BUG, DT_STORE=store, DT_SERVICE_BUS=BUS, DT_STORAGE=connection) as program:
        for count in (1, 2):
            assert problem(post(program)) == (500, "internal-error")
            lines = program.wait_for_lines(count)
            assert len(lines) == count
            line = lines[-1]
            assert (line["severity"], line["reason"], line["traceback"][0]) == ("ERROR", "bug", "ZeroDivisionError")
            assert any("sitecustomize.py" in place for place in line["traceback"])
        assert "samples" not in program.output()
        assert "Traceback" not in program.output()


ADDRESSES = {
    "service_bus": ["/", "/?a=b", "/.", "/x/..", "/%2e/", "/admin", "/admin/warmup", "/Admin/x/y"],
    "table": ["/"],
}


@pytest.mark.parametrize("store", ADDRESSES)
def test_path_that_the_host_answers_2xx_is_404(store: str, function: Function) -> None:
    """The host answers 2xx there while no function is loaded, and would lose deliveries."""
    with function(DT_STORE=store, **STORES[store]) as program:
        content = fresh_body()
        for count, path in enumerate(ADDRESSES[store], 1):
            answer = program.request("POST", path, signed(content), content)
            assert problem(answer) == (404, "wrong-address"), path
            assert b"/events" in answer.body
            line = program.wait_for_lines(count)[-1]
            assert (line["severity"], line["outcome"], line["status"]) == ("WARNING", "refused", 404)
            assert "/events" in line["reason"]
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            assert program.request(method, "/").status == 404


def test_function_works_after_refused_requests(function: Function, tmp_path: Path) -> None:
    with service_bus(tmp_path, "events") as bus, function(DT_SERVICE_BUS=bus.connection_string) as program:
        content = fresh_body()
        for path in ("/events", "/x", "/a/b/", "/%252e", "/events?a=b", "/a//b", f"/{uuid.uuid4()}"):
            assert problem(program.request("POST", path, {}, content)) == (401, "unverified")
            assert program.request("POST", path, signed(content), content).status == 200
        assert [each["body"] for each in bus.messages()] == [content]
