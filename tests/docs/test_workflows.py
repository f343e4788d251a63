"""The make targets, paths and files named in .github/ and .ci/run exist."""

import re
from pathlib import Path

import pytest

from tests.support.found import targets
from tests.support.processes import ROOT

FILES = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".ci" / "run"]
# A command, not a word in a comment.
RUN = re.compile(r"""(?:run: |step |step env |["'])(?:\w+=\w+ )*make ((?:[a-z][a-z-]*(?: |$|\b))+)""")


def test_workflows_are_found() -> None:
    assert {path.name for path in FILES} >= {"test.yml", "nightly.yml", "release.yml", "dependabot.yml", "run"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_targets_and_paths_exist(path: Path) -> None:
    text = path.read_text()
    named = {name for found in RUN.findall(text) for name in found.split()}
    assert named <= targets()
    assert named or path.parent.name not in ("workflows", ".ci")
    paths = re.findall(r"(?:directory: |[ \"'(])/?((?:tests|tools|requirements|docs)/[\w./-]+|[A-Z]+\.md)", text)
    assert [name for name in paths if not (ROOT / name).exists()] == []
