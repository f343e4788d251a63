"""azure-servicebus without its management client, which takes a fifth of a cold start and is not used.

The SDK imports that client for one base class, and with it requests and an HTTP pipeline.
docs/decisions/0019-service-bus.md has the figures, and what to do if a new version of the SDK breaks this.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

_NAME = "azure.servicebus.management"


def _import_without_management() -> None:
    sdk = find_spec("azure.servicebus")
    if _NAME in sys.modules or not sdk or not sdk.submodule_search_locations:
        return
    # The package without its __init__: its modules are found, and imported on demand.
    package = ModuleType(_NAME)
    package.__path__ = [f"{sdk.submodule_search_locations[0]}/management"]
    sys.modules[_NAME] = package
    try:
        import azure.servicebus.aio  # noqa: F401
    finally:
        # Other code still imports it normally.
        del sys.modules[_NAME]


_import_without_management()

from azure.servicebus import ServiceBusMessage, exceptions  # noqa: E402
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender  # noqa: E402

__all__ = ["ServiceBusClient", "ServiceBusMessage", "ServiceBusSender", "exceptions"]
