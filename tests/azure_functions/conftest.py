"""The function app, run and indexed by Microsoft's library of Azure's worker."""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.azure_functions.service_bus_store import Connect
from tests.support.azure_host import azure_functions
from tests.support.deliveries import SECRET
from tests.support.environments import unpacked
from tests.support.processes import ROOT, Program, run_alone
from tests.support.service_bus import ServiceBus, service_bus

# Prints the indexed functions and the time that it took.
INDEX = """
import gc, inspect, json, sys

from azure_functions_runtime.loader import index_function_app

before = gc.get_stats()
found = [
    {
        "name": each.get_function_name(),
        "bindings": [json.loads(binding) for binding in each.get_raw_bindings()],
        "is_async": inspect.iscoroutinefunction(each.get_user_function()),
    }
    for each in index_function_app("function_app.py")
]
runs = sum(after["collections"] - each["collections"] for after, each in zip(gc.get_stats(), before))
print(json.dumps({
    "functions": found,
    "modules": sorted(sys.modules),
    "collector": {"is_enabled": gc.isenabled(), "frozen": gc.get_freeze_count(), "runs": runs},
}))
"""

Run = Callable[..., str]


@pytest.fixture(scope="session")
def worker() -> None:
    """Azure's worker."""
    if importlib.util.find_spec("azure_functions_runtime") is None:
        pytest.skip("no azure-functions-runtime: install Python 3.13, which it wants, then `make test` installs it")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that is in the zip, far from the repository."""
    return unpacked("azure", tmp_path_factory.mktemp("zip") / "wwwroot")


@pytest.fixture(scope="session")
def app(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the Functions host, whose worker leaves bytecode in it."""
    return shutil.copytree(package, tmp_path_factory.mktemp("app") / "wwwroot")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program in a subprocess, with these variables and nothing else; return what it printed."""

    def run(program: str, **environ: str) -> str:
        return run_alone(program, tmp_path, **environ)

    return run


@pytest.fixture
def index(worker: None, run: Run, tmp_path: Path) -> Callable[..., Any]:
    """Index the function app with these variables and nothing else."""
    # Alone, as it is at the root of the package: http.py beside it would stand in for the standard library's.
    shutil.copy(ROOT / "azure_functions" / "function_app.py", tmp_path)

    def index(**environ: str) -> Any:
        return json.loads(run(INDEX, **environ).splitlines()[-1])

    return index


@pytest.fixture(scope="session")
def function(worker: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[Program]]:
    """Start the function with only these variables; None leaves a default out.

    Python runs ``sitecustomize`` before the program: to change or inspect the process and nothing else.
    """

    @contextmanager
    def function(sitecustomize: str = "", **environ: str | None) -> Iterator[Program]:
        folder = tmp_path_factory.mktemp("function")
        (folder / "sitecustomize.py").write_text(sitecustomize)
        usual = {"DT_SIGNATURE_SECRET": SECRET, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
        given = {name: value for name, value in (usual | environ).items() if value is not None}
        with azure_functions(given, folder) as program:
            yield program

    return function


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without pauses: those are core's, and would only take time here."""
    monkeypatch.setattr("core.service.attempts.random.uniform", lambda low, high: low)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ServiceBus]:
    with service_bus(tmp_path, "events") as bus:
        yield bus


@pytest.fixture
def connect(bus: ServiceBus) -> Connect:
    return Connect(bus)
