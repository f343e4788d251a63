"""azure_functions/deploy.sh, with stand-ins for azd and az that write down how they are called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

if sys.platform == "win32":
    pytest.skip("needs a POSIX shell", allow_module_level=True)

# An environment is a folder, with a file for each value.
AZD = """#!/bin/sh
echo "azd $*" >>calls
case "$1 $2" in
"env get-values") [ -d environment ] || exit 1 ;;
"env new") mkdir environment ;;
"env get-value") cat "environment/$3" 2>/dev/null || { echo "ERROR: key not found"; exit 1; } ;;
"env set") echo "$4" >"environment/$3" ;;
"provision --no-state") echo dtabc >environment/storage ;;
esac
"""
AZ = """#!/bin/sh
case $1 in account) echo SUBSCRIPTION ;; storage) echo Standard_ZRS ;; esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("azd", AZD), ("az", AZ), ("deploy.sh", (ROOT / "azure_functions" / "deploy.sh").read_text())):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def calls(folder: Path) -> list[str]:
    """Deploy; return what azd was asked to do, without questions for values."""
    (folder / "calls").unlink(missing_ok=True)
    environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", str(folder / "deploy.sh")], env=environ, cwd="/", check=True, capture_output=True, timeout=60)
    return [it for it in (folder / "calls").read_text().splitlines() if not it.startswith("azd env get-")]


def test_deployment_is_never_skipped_and_keeps_the_redundancy(folder: Path) -> None:
    deployed = ["azd provision --no-state", "azd deploy"]
    assert calls(folder) == ["azd env new dt-receiver --subscription SUBSCRIPTION", *deployed]
    assert calls(folder) == ["azd env set DT_REDUNDANCY Standard_ZRS", *deployed], "as an earlier version made it"
    assert calls(folder) == deployed
