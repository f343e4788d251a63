"""docs/local.md: the unit and the container file that it shows."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.pages import PAGES
from tests.support.processes import ROOT

PAGE = PAGES["docs/local.md"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_unit_is_valid(tmp_path: Path) -> None:
    (unit,) = PAGE.of("ini", "Keep it running")
    unit = unit.replace("/opt/data-connector/.venv/bin/python", shutil.which("true") or "/bin/true")
    path = tmp_path / "data-connector.service"
    path.write_text(unit)
    found = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True)
    said = [line for line in found.stderr.splitlines() if "data-connector" in line]
    assert said == []


def test_unit_names_the_settings_of_the_receiver() -> None:
    (unit,) = PAGE.of("ini", "Keep it running")
    settings = (ROOT / "docs" / "settings.md").read_text()
    for name in re.findall(r"\bDT_\w+", unit):
        assert f"`{name}`" in settings


def test_container_file_names_what_the_package_has() -> None:
    (text,) = PAGE.of("dockerfile", "Keep it running")
    assert "requirements.txt" in text
    assert (ROOT / "heroku" / "requirements.txt").is_file()
    for module in re.findall(r"python -m (heroku[.\w]*)", text):
        path = ROOT / Path(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
