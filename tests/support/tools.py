"""The tools that check infrastructure, each set in an environment of its own: ``make aws-tools`` and so on."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Tools:
    """The programs of ``.venv-NAME``, or of the folder that ``DT_NAME_TOOLS`` names.

    Attributes:
        folder: Where they are.
        missing: What to do if one is not there, or empty.
        needed: A mark that skips a test without them.
    """

    def __init__(self, name: str, *programs: str) -> None:
        variable = f"DT_{name.upper()}_TOOLS"
        self.folder = Path(os.environ.get(variable) or ROOT / f".venv-{name}" / "bin")
        absent = [it for it in programs if not (self.folder / it).exists()]
        how = f"no {', '.join(absent)} in {self.folder}: make {name}-tools; or set {variable} to the folder that has it"
        self.missing = how if absent else ""
        self.needed = pytest.mark.skipif(bool(absent), reason=how)

    def run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self.folder / program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
