"""Staged packages outside the repository, and environments with only their requirements."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from tests.support.processes import ROOT


def unpacked(cloud: str, folder: Path) -> Path:
    """Write the package of ``cloud``, unpack its zip in ``folder``, and return that folder."""
    command = [sys.executable, str(ROOT / "tools" / "package.py"), cloud]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(next((ROOT / "dist").glob(f"{cloud}_*.zip"))) as zipped:
        zipped.extractall(folder)
    return folder


def environment_of(package: Path, requirements: str = "requirements.txt") -> Path:
    """Install the package's requirements beside it, as a buildpack does; return the interpreter.

    Args:
        package: The package's folder.
        requirements: The file in it, for a package that has several.
    """
    folder = package.parent / f"environment-{requirements}"
    venv.create(folder)
    python = folder / "bin" / "python"
    # By the tests' own pip: to put one into each environment takes longer than what it installs.
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    command = [
        *pip,
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
        str(package / requirements),
    ]
    subprocess.run(command, check=True)
    return python
