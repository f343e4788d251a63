"""Staged packages outside the repository, and environments with only their requirements."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from tests.support.processes import ROOT


def unpacked(cloud: str, folder: Path, *options: str) -> Path:
    """Write the package of ``cloud``, unpack its zip in ``folder``, and return that folder."""
    package = written(cloud, folder.parent / "repository", *options)
    with zipfile.ZipFile(package.with_suffix(".zip")) as zipped:
        zipped.extractall(folder)
    return folder


def written(cloud: str, repository: Path, *options: str) -> Path:
    """Write the package of ``cloud`` in a copy of what it is made of, since tests run at once; return its folder."""
    adapter = next(ROOT.glob(f"{cloud}_*/package.toml")).parent.name
    for name in ("core", "server", adapter, "tools", "requirements"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "LICENSE", repository)
    command = [sys.executable, str(repository / "tools" / "package.py"), cloud, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return repository / "dist" / adapter


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
