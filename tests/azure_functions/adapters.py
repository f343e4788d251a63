"""The Azure function under contract, in a stand-in for its host."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from azure.functions import HttpRequest

from azure_functions.http import to_request
from core.http import Request
from tests.contract.adapter import Adapter, Campaign, Factory
from tests.contract.store import http_answer
from tests.support.azure_host import azure_functions
from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.proxy import Mode, Proxy
from tests.support.service_bus import service_bus


def _azure(store: str) -> Factory:
    @contextmanager
    def azure(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
        with ExitStack() as stack:
            if store == "service_bus":
                bus = stack.enter_context(service_bus(folder, "events"))
                proxies = [Proxy(bus.port)]
                names = {"DT_SERVICE_BUS": bus.connection_string.replace(str(bus.port), str(proxies[0].port))}

                def bodies() -> list[bytes]:
                    return [message["body"] for message in bus.messages()]
            else:
                azurite: Azurite = request.getfixturevalue("azurite")
                storage = Storage(azurite)
                proxies = [Proxy(azurite.queue_port), Proxy(azurite.table_port)]
                names = {
                    "DT_STORAGE": connection_string(proxies[0].port, proxies[1].port),
                    "DT_QUEUE": storage.queue,
                    "DT_TABLE": storage.table,
                    "DT_SEEN_TABLE": storage.seen_table,
                }
                taken: list[bytes] = []

                def bodies() -> list[bytes]:
                    if store == "table":
                        return [entity["body"] for entity in storage.entities()]
                    taken.extend(
                        each["body"] for each in sorted(storage.messages(), key=lambda m: str(m["receivedAt"]))
                    )
                    return taken

            def behave(mode: Mode) -> None:
                for proxy in proxies:
                    proxy.set(mode)

            for proxy in proxies:
                stack.callback(proxy.close)
            program = stack.enter_context(azure_functions({"DT_STORE": store, **names, **environ}, folder))
            yield Adapter(
                program,
                bodies,
                lambda: behave(Mode.REFUSE),
                lambda: behave(Mode.PASS),
                proxies,
                # Kestrel, which the host is made of, takes 32 KiB of headers:
                # https://learn.microsoft.com/dotnet/api/microsoft.aspnetcore.server.kestrel.core.kestrelserverlimits
                longest_header=30_000,
                again="stored" if store == "service_bus" else "duplicate",
            )

    return azure


def _azure_worker(headers: list[tuple[str, str]], body: bytes) -> Request:
    """Present a delivery as Azure's worker does: names in lower case, repeated headers joined, empty ones dropped."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    joined = {name: ",".join(filter(None, values)) for name, values in found.items()}
    return to_request(HttpRequest("POST", "https://example.com/", headers=joined, body=body))


ADAPTERS: dict[str, Factory] = {
    "Azure, Service Bus": _azure("service_bus"),
    "Azure, Storage queue": _azure("storage_queue"),
    "Azure, table": _azure("table"),
}
FRONT_DOORS = {"Azure": _azure_worker}
CAMPAIGNS = {
    "service_bus": Campaign("Azure, Service Bus", b""),
    "storage_queue": Campaign("Azure, Storage queue", http_answer(429), is_unique=False),
    "table": Campaign("Azure, table", http_answer(429)),
}
