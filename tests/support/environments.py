"""Environments that hold a staged package's own requirements and nothing else."""

import subprocess
import venv
from pathlib import Path


def environment_of(package: Path, requirements: str = "requirements.txt") -> Path:
    """Install what the package requires beside it, as a buildpack does; return the interpreter.

    Args:
        package: The package's folder.
        requirements: The file in it, for a package that has several.
    """
    folder = package.parent / f"environment-{requirements}"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-qq", "--require-hashes", "-r", str(package / requirements)]
    subprocess.run(command, check=True)
    return python
