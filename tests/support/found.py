"""Finds the test modules of every adapter, so that no list names the adapters."""

import importlib
import re
import subprocess
from types import ModuleType

from tests.support.processes import ROOT

# An adapter is a folder with a wiring.py.
ADAPTER_FOLDERS = sorted(path.parent for path in ROOT.glob("*/wiring.py"))


def found(name: str) -> list[ModuleType]:
    """Import the module of this name from each folder of tests that has one, except tests/contract."""
    folders = sorted(path.parent.name for path in ROOT.glob(f"tests/*/{name}.py"))
    return [importlib.import_module(f"tests.{folder}.{name}") for folder in folders if folder != "contract"]


def targets() -> set[str]:
    """Return the targets that ``make`` lists."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, check=True, text=True)
    return set(re.findall(r"^ +make ([a-z-]+) ", done.stdout, re.MULTILINE))
