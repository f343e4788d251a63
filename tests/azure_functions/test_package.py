"""What `make package-azure` writes, installed into an empty environment and loaded as Azure's worker loads it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.deliveries import ORGANIZATION, SECRET, fresh_body, signed
from tests.support.environments import environment_of, unpacked
from tests.support.es256 import JWKS, es256
from tests.support.processes import ROOT, running
from tests.support.service_bus import service_bus

STORES = ["service_bus", "storage_queue", "table"]


@pytest.fixture(scope="module")
def python(worker: None, package: Path) -> Path:
    """An environment with the package's own requirements and nothing else."""
    return environment_of(package)


@pytest.fixture(scope="module")
def python_with_es256(worker: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with what ES256 needs."""
    return environment_of(unpacked("azure", tmp_path_factory.mktemp("es256") / "package", "--es256"))


@pytest.mark.parametrize("organization", ["", ORGANIZATION])
def test_organization_adds_the_requirements_of_es256(organization: str) -> None:
    done = subprocess.run(
        ["make", "-n", "package-azure"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DT_ORGANIZATION_ID": organization},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    arguments = done.stdout.replace("\\\n", " ").partition("tools/package.py azure")[2].split()
    assert arguments == (["--es256"] if organization else [])


@pytest.fixture(scope="module")
def library(worker: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Azure's worker: its library, without what that requires, and our stand-in for the host.

    Azure has the worker's libraries in a folder of their own, which comes after the app's. They would complete what is
    missing from its requirements.txt, and not the same in each version of the worker: of all that the library itself
    requires, what it imports at the start is here, and that is not of this adapter's. All else is the app's to bring,
    azure-functions among it.
    """
    folder = tmp_path_factory.mktemp("worker")
    for name in ("azure_functions_runtime", "azurefunctions"):
        found = importlib.util.find_spec(name)
        assert found
        assert found.submodule_search_locations
        shutil.copytree(found.submodule_search_locations[0], folder / name)
    support = folder / "tests" / "support"
    support.mkdir(parents=True)
    for name in ("azure_host.py", "ports.py", "processes.py"):
        shutil.copy(ROOT / "tests" / "support" / name, support)
    return folder


def test_package_contents(package: Path) -> None:
    found = {path.name for path in package.iterdir()}
    files = {"function_app.py", "host.json", "requirements.txt", ".funcignore", "LICENSE"}
    assert found == {*files, "core", "azure_functions"}
    for folder in ("core", "azure_functions"):
        assert {path.relative_to(package) for path in (package / folder).rglob("*.py")} == {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*.py")
            # A worker runs elsewhere.
            if path.name not in ("function_app.py", "deployment.py", "worker.py")
        }
    for name in files - {"LICENSE", "requirements.txt"}:
        assert (package / name).read_bytes() == (ROOT / "azure_functions" / name).read_bytes()


def test_requirements_of_the_package_are_pinned(package: Path) -> None:
    """Azure's remote build installs the latest version of an unpinned name, without a hash."""
    text = (package / "requirements.txt").read_text()
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(pins) >= 3
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+( +# via .+)?", pin), pin
    names = {pin.partition("==")[0] for pin in pins}
    # No SDK; and the worker brings its own runtime.
    assert names == {"azure-functions", "pyjwt", "markupsafe", "werkzeug"}


SHADOWS = """
import http, http.client, http.server
import function_app
print(http.__file__)
"""


def test_package_shadows_no_module_of_the_standard_library(package: Path, python: Path) -> None:
    """A module at the root would, and the adapter's folder has one called http."""
    at_the_root = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert at_the_root & sys.stdlib_module_names == set()
    done = subprocess.run(
        [python, "-c", SHADOWS], cwd=package, capture_output=True, text=True, timeout=60, check=True, env={"PATH": ""}
    )
    assert not Path(done.stdout.strip()).is_relative_to(package)


@contextmanager
def _stored(store: str, folder: Path, azurite: Azurite) -> Iterator[tuple[dict[str, str], Callable[[], list[Any]]]]:
    """Give the store's variables, and a function that reads what is stored."""
    if store == "service_bus":
        with service_bus(folder, "events") as bus:
            yield {"DT_SERVICE_BUS": bus.connection_string}, bus.messages
        return
    storage = Storage(azurite)
    yield (
        {
            "DT_STORAGE": connection_string(azurite.queue_port, azurite.table_port),
            "DT_QUEUE": storage.queue,
            "DT_TABLE": storage.table,
            "DT_SEEN_TABLE": storage.seen_table,
        },
        storage.entities if store == "table" else storage.messages,
    )


@pytest.mark.long
@pytest.mark.parametrize("store", STORES)
def test_package_alone_stores_events(
    store: str, package: Path, python_with_es256: Path, library: Path, azurite: Azurite, tmp_path: Path
) -> None:
    one, other = fresh_body(), fresh_body()
    with _stored(store, tmp_path, azurite) as (names, look):
        environ = {
            "AzureWebJobsScriptRoot": str(package),
            "DT_STORE": store,
            "DT_SIGNATURE_SECRET": SECRET,
            "DT_ORGANIZATION_ID": ORGANIZATION,
            "DT_JWKS": JWKS,
            **names,
        }
        with running(
            "tests.support.azure_host", environ, tmp_path, root=library, python=str(python_with_es256)
        ) as server:
            assert server.request("POST", "/events", {}, one).status == 401
            assert server.request("POST", "/events", signed(one), one).headers["event-outcome"] == "stored"
            again = server.request("POST", "/events", signed(one), one).headers["event-outcome"]
            assert again == ("stored" if store == "service_bus" else "duplicate")
            asymmetric = {"DT-Asymmetric-Signature": es256(other)}
            assert server.request("POST", "/events", asymmetric, other).headers["event-outcome"] == "stored"
            # The repository is not on its path.
            maps = Path(f"/proc/{server.process.pid}/environ")
            assert not maps.exists() or f"{ROOT}{os.sep}".encode() not in maps.read_bytes()
        assert sorted(each["body"] for each in look()) == sorted([one, other])


LOADED = """
import asyncio, json
import function_app
from core.http import Request

response = asyncio.run(function_app.receiver.handle(Request("POST", "/events", [], b"{}")))
print(json.dumps([type(function_app.receiver).__name__, response.status]))
"""


def _load(package: Path, python: Path, **environ: str) -> tuple[str, int, str]:
    """Load the function; return the receiver's name, its answer to an unsigned request, and the log."""
    done = subprocess.run(
        [python, "-W", "error", "-c", LOADED],
        cwd=package,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"DT_SIGNATURE_SECRET": SECRET, **environ},
    )
    name, status = json.loads(done.stdout)
    return name, status, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("store", STORES)
def test_package_alone_can_log_in(store: str, package: Path, python: Path) -> None:
    names = {"DT_SERVICE_BUS": "tests.servicebus.windows.net", "DT_STORAGE": "tests"}
    assert _load(package, python, DT_STORE=store, **names)[:2] == ("AsyncReceiver", 401)


def test_missing_cryptography_is_one_sentence(package: Path, python: Path) -> None:
    name, status, log = _load(package, python, DT_SERVICE_BUS="a.b", DT_ORGANIZATION_ID=ORGANIZATION)
    assert (name, status) == ("AsyncUnconfiguredReceiver", 503)
    assert "DT_ORGANIZATION_ID needs the package cryptography" in log
    assert "Traceback" not in log
