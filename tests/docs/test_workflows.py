"""Workflows are YAML of GitHub's form, and the make targets, paths and files that they and .ci/run name exist."""

import re
from pathlib import Path

import pytest
import yaml

from tests.support.found import targets
from tests.support.processes import ROOT

DEPLOYS = sorted(ROOT.glob("*/deploy.yml"))
FILES = [*sorted((ROOT / ".github").rglob("*.yml")), *DEPLOYS, ROOT / ".ci" / "run"]
# A command, not a word in a comment.
RUN = re.compile(r"""(?:run: |step |step env |["'])(?:\w+=\w+ )*make ((?:[a-z][a-z-]*(?: |$|\b))+)""")


def test_workflows_are_found() -> None:
    assert {path.name for path in FILES} >= {"test.yml", "nightly.yml", "release.yml", "dependabot.yml", "run"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_targets_and_paths_exist(path: Path) -> None:
    text = path.read_text()
    named = {name for found in RUN.findall(text) for name in found.split()}
    assert named <= targets()
    assert named or path.parent.name not in ("workflows", ".ci")
    paths = re.findall(r"(?:directory: |[ \"'(])/?((?:tests|tools|requirements|docs)/[\w./-]+|[A-Z]+\.md)", text)
    assert [name for name in paths if not (ROOT / name).exists()] == []


def test_deployments_log_in_without_a_key_and_end_with_an_event() -> None:
    for path in DEPLOYS:
        _check_deployment(path)


def _check_deployment(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    cloud = workflow["name"].removeprefix("deploy-")
    (job,) = workflow["jobs"].values()
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    assert (workflow["concurrency"], job["environment"]) == (f"deploy-{cloud}", cloud)
    assert all(len(step.keys() & {"run", "uses"}) == 1 for step in job["steps"])
    assert [step["run"].split(" ARGS")[0] for step in job["steps"][-2:]] == [
        *(f"make deploy-{cloud}", f"make first-event-{cloud}")
    ]
    assert "secrets." not in path.read_text()
    assert path.parent.name in (ROOT / "docs" / "deploying.md").read_text()
