"""The tools that check ibm_actions/deploy and the Dockerfile, in a separate environment: ``make ibm-tools``."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("DT_IBM_TOOLS") or ROOT / ".venv-ibm" / "bin")
MISSING = f"no hadolint and shellcheck in {TOOLS}: make ibm-tools; or set DT_IBM_TOOLS to the folder that has them"
needs_tools = pytest.mark.skipif(not all((TOOLS / it).exists() for it in ("hadolint", "shellcheck")), reason=MISSING)


def tool(name: str) -> str:
    """Return the path of one of them."""
    return str(TOOLS / name)
