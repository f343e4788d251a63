"""docs/dt-cloud.md: each option exists, each choice is in the table, and the first commands work unchanged."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import PAGES
from tests.support.processes import ROOT

pytest.importorskip("aiohttp", reason="needs aiohttp and starlette: make test installs them")
from dt_cloud.choices import Choices
from tests.support.dt_cloud import dt_cloud, loopback, ok, until

PAGE = PAGES["docs/dt-cloud.md"]
OPTIONS = [row[3].strip("`") for row in PAGE.table("topic", "documents", "here", "option") if row[3] != "none"]


def test_each_option_exists_and_each_choice_is_in_the_table() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "dt_cloud", "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    named = {option.split()[0] for option in OPTIONS}
    assert {*named, *re.findall(r"--[a-z][a-z-]+", PAGE.prose)} <= set(re.findall(r"--[a-z][a-z-]+", shown)) | {
        "--help"
    }
    fields = {field.name.removesuffix("s") for field in dataclasses.fields(Choices)}
    assert {option.removeprefix("--").replace("-", "_").removesuffix("s") for option in named} == fields


def test_each_documented_option_is_accepted(tmp_path: Path) -> None:
    with dt_cloud(tmp_path, *" ".join(OPTIONS).split()) as cloud:
        assert cloud.request("GET", "/ledger").status == 200


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: install it")
def test_the_first_screen(tmp_path: Path) -> None:
    commands = PAGE.of("sh")[1]
    with dt_cloud(tmp_path) as cloud, loopback(ok) as receiver:
        exports = "\n".join(line for line in cloud.output().splitlines() if line.startswith("export "))
        script = f"set -e\n{exports}\n{commands.replace('http://127.0.0.1:8000', receiver.url)}"
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert '"published":1' in done.stdout
        until(lambda: cloud.books() == (1, 1, 0, 0, 0))
        assert b'"value":21.5' in receiver.calls[0].body
