"""The environment of those peers whose libraries nothing else here uses."""

import subprocess
from pathlib import Path

from bench import ROOT, CannotMeasure

_FOLDER = ".venv-peers"


def environment() -> Path:
    """Return its folder, after making it if it is missing or old: requirements/peers.txt.

    Raises:
        CannotMeasure: It cannot be installed.
    """
    if subprocess.run(["make", "--silent", f"ready/{_FOLDER}/.peers"], cwd=ROOT, check=False).returncode:
        raise CannotMeasure("requirements/peers.txt could not be installed: see the message above.")
    return ROOT / _FOLDER
