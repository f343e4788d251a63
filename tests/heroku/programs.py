"""Run Heroku's programs until they exit."""

import os
import subprocess
import sys

from tests.support.processes import ROOT


def run_module(module: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m module`` with only these variables."""
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": "0", "HOST": "127.0.0.1"}
    command = [sys.executable, "-m", module]
    return subprocess.run(command, env=basics | environ, capture_output=True, text=True, timeout=60, check=False)
