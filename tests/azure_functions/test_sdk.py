"""azure-servicebus as azure_functions.sdk imports it, each time in a subprocess."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.service_bus import service_bus

Run = Callable[..., str]

MODULES = """
import json, sys
import azure_functions.sdk
print(json.dumps(sorted(sys.modules)))
"""


def test_management_client_is_not_imported(run: Run) -> None:
    modules = set(json.loads(run(MODULES)))
    # The SDK imports one base class from there, with its dependencies.
    assert "azure.servicebus.management._models" in modules
    left_out = {
        "azure.servicebus.management",
        "azure.servicebus.management._management_client",
        "azure.servicebus.aio.management",
        "requests",
        "urllib3",
        "azure.identity",
    }
    assert modules & left_out == set()


WHOLE = """
import sys
{before}
first = sys.modules.get("azure.servicebus.management")
import azure_functions.sdk
import azure.servicebus
import azure.servicebus.management
from azure.servicebus.management import QueueProperties, ServiceBusAdministrationClient

print(azure.servicebus.management.__file__.endswith("__init__.py"))
print(azure.servicebus.management is (first or sys.modules["azure.servicebus.management"]))
print({{"RuleProperties", "AccessRights"}} <= set(azure.servicebus.management.__all__))
print(QueueProperties is sys.modules["azure.servicebus.management._models"].QueueProperties)
client = ServiceBusAdministrationClient.from_connection_string(
    "Endpoint=sb://127.0.0.1:9;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0", retry_total=0
)
try:
    client.get_queue("events")
except azure.core.exceptions.ServiceRequestError:
    print(True)  # nobody is there
client.close()
print(azure_functions.sdk.ServiceBusMessage is azure.servicebus.ServiceBusMessage)
print(azure_functions.sdk.ServiceBusClient is azure.servicebus.aio.ServiceBusClient)
print(azure_functions.sdk.exceptions is azure.servicebus.exceptions)
"""
BEFORE = {
    "afterwards": "",
    "before": "import azure.servicebus.management",
    "the SDK alone before": "import azure.servicebus",
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
def test_management_client_can_still_be_imported(before: str, run: Run) -> None:
    assert run(WHOLE.format(before=before)).split() == ["True"] * 8


# A new version of the SDK that needs the whole package.
UNBEARABLE = """
import sys
from importlib.abc import MetaPathFinder

class Broken(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "azure.servicebus.aio":
            raise ImportError("needs the whole of it")

sys.meta_path.insert(0, Broken())
try:
    import azure_functions.sdk
except ImportError as error:
    print(error)
print("azure.servicebus.management" in sys.modules)
"""


def test_failed_import_leaves_no_stub_module(run: Run) -> None:
    assert run(UNBEARABLE).splitlines() == ["needs the whole of it", "False"]


ABSENT = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name == "azure.servicebus" else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Without]
try:
    import azure_functions.sdk
except ModuleNotFoundError as error:
    print(error.name)
"""


def test_missing_sdk_is_reported_as_the_sdk(run: Run) -> None:
    assert run(ABSENT).split() == ["azure.servicebus"]


SENDS = """
import asyncio, os
from azure_functions.sdk import ServiceBusClient, ServiceBusMessage

async def main():
    async with ServiceBusClient.from_connection_string(os.environ["BUS"], retry_total=0) as client:
        async with client.get_queue_sender("events", keep_alive=0) as sender:
            await sender.send_messages(ServiceBusMessage(b"{}", message_id="one"), timeout=5)

asyncio.run(main())
"""


def test_partial_sdk_import_can_send(run: Run, tmp_path: Path) -> None:
    with service_bus(tmp_path, "events") as bus:
        assert run(SENDS, BUS=bus.connection_string) == ""
        assert [message["messageId"] for message in bus.messages()] == ["one"]


def test_sdk_version_is_the_tested_one() -> None:
    """For another version, read docs/decisions/0019-service-bus.md first, then change the number here."""
    assert version("azure-servicebus").startswith("7.15.")
