"""Environments that hold a staged package's own requirements and nothing else."""

import subprocess
import venv
from pathlib import Path


def environment_of(package: Path) -> Path:
    """Install the package's requirements.txt beside it, as a buildpack does; return the interpreter."""
    folder = package.parent / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-qq", "--require-hashes", "-r", str(package / "requirements.txt")]
    subprocess.run(command, check=True)
    return python
