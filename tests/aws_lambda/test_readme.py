"""The README's lines for a first deployment that failed, with a stand-in for the AWS CLI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import PAGES
from tests.support.processes import ROOT

if sys.platform == "win32":
    pytest.skip("needs a POSIX shell", allow_module_level=True)

AWS = """#!/bin/sh
case "$*" in
*StackStatus*) echo "$STATE"; exit ;;
*describe-stack-resources*) echo "$LEFT"; [ -n "$KNOWN" ]; exit ;;
esac
echo "$*" >>"$CALLS"
case "$*" in *"${FAILING:-nothing}"*) exit 1 ;; esac
"""
STACK = [f"cloudformation {it} --stack-name dt-receiver" for it in ("delete-stack", "wait stack-delete-complete")]
TABLE = [
    "dynamodb update-table --table-name dt-Events-1 --no-deletion-protection-enabled",
    "dynamodb wait table-exists --table-name dt-Events-1",
    "dynamodb delete-table --table-name dt-Events-1",
]
FAILED = {"STATE": "ROLLBACK_COMPLETE", "LEFT": "dt-Events-1", "KNOWN": "yes"}


@pytest.mark.parametrize(
    ("environ", "calls"),
    [
        (FAILED, [*STACK, *TABLE]),
        (FAILED | {"LEFT": ""}, STACK),
        (FAILED | {"LEFT": "", "KNOWN": ""}, []),
        (FAILED | {"FAILING": "wait stack"}, STACK),
        (FAILED | {"FAILING": "update-table"}, [*STACK, TABLE[0]]),
        (FAILED | {"STATE": "UPDATE_COMPLETE"}, []),
    ],
    ids=["a table is left", "none is left", "look-up fails", "stack stays", "table stays", "stack works"],
)
def test_stack_and_table_of_a_failed_deployment_are_deleted(
    environ: dict[str, str], calls: list[str], tmp_path: Path
) -> None:
    (block,) = (it.text for it in PAGES["aws_lambda/README.md"].blocks if "ROLLBACK_COMPLETE" in it.text)
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)
    made = tmp_path / "calls"
    environ = environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CALLS": str(made)}
    subprocess.run([shutil.which("sh") or "sh", "-c", block], env=environ, check=False, timeout=60)
    assert (made.read_text().splitlines() if made.exists() else []) == calls


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ("owner=O'Hara", "TAGS has a character that AWS takes in no tag"),
        ("owner=a\\b", "TAGS has a character that AWS takes in no tag"),
        ("owner=a b@c:1/2", ""),
    ],
)
def test_tag_that_no_file_can_hold_is_refused_in_a_sentence(tags: str, said: str, tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "aws_lambda", tmp_path / "aws_lambda")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (folder / "samconfig.toml").unlink(missing_ok=True)
    (tmp_path / "sam").write_text("#!/bin/sh\n")
    (tmp_path / "sam").chmod(0o755)
    done = subprocess.run(
        ["make", "--assume-old", "package-aws", "deploy-aws", f"TAGS={tags}"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0) is (said == ""), done.stderr
    assert said in done.stderr
    assert (folder / "samconfig.toml").exists() is (said == "")
    assert said or f"tags = '{tags}'" in (folder / "samconfig.toml").read_text()
