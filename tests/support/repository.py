"""A copy of this repository, for tests that change it."""

import shutil
import subprocess
from pathlib import Path

from tests.support.processes import ROOT


def copy_repository(target: Path) -> Path:
    """Copy the files that git tracks or would add to ``target``, and return it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    return target
