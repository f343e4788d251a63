"""Adding or removing an adapter takes little more than its two folders: no list names the adapters."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.found import ADAPTER_FOLDERS, found
from tests.support.repository import copy_repository
from tests.tools.example_cloud import FILES

# dtconn reads the databases of the others.
REMOVED = [folder.name for folder in ADAPTER_FOLDERS if folder.name not in ("local", "heroku")]
# The rows of the removed in the one, and what `make settings` writes in the other.
TOUCHED = {"README.md", "docs/settings.md"}


def run(fork: Path, *command: str) -> str:
    """Run a command in a fork, without the tests' environment, and return its output."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(fork), "PYTHON": sys.executable}
    done = subprocess.run(
        command, cwd=fork, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_pytest(fork: Path, *arguments: str) -> str:
    return run(fork, sys.executable, "-m", "pytest", "-q", "-x", *arguments)


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A fork with the clouds removed, another added, and its documentation updated."""
    fork = copy_repository(tmp_path / "fork")
    run(fork, "git", "init", "--quiet")
    run(fork, "git", "add", "--all")
    for name in REMOVED:
        shutil.rmtree(fork / name)
        shutil.rmtree(fork / "tests" / name)
    for place, text in FILES.items():
        (fork / place).parent.mkdir(parents=True, exist_ok=True)
        (fork / place).write_text(text.lstrip())
    readme = fork / "README.md"
    # Their rows, and those on the answers that Azure's function alone gives.
    gone = (*REMOVED, "| on Azure")
    kept = [line for line in readme.read_text().splitlines(keepends=True) if not any(text in line for text in gone)]
    readme.write_text("".join(kept))
    run(fork, "make", "-s", "settings")
    return fork


@pytest.mark.long
def test_fork_removes_clouds_and_adds_another(fork: Path) -> None:
    untracked = ("--others", "--exclude-standard")
    changed = {*run(fork, "git", "diff", "--name-only").split(), *run(fork, "git", "ls-files", *untracked).split()}
    own = tuple(f"{prefix}{name}/" for name in (*REMOVED, "example_cloud") for prefix in ("", "tests/"))
    assert {name for name in changed if not name.startswith(own)} <= TOUCHED
    assert imports(fork).isdisjoint(REMOVED)

    listed = run(fork, "make", "-s", "help")
    assert set(re.findall("make ((?:deploy|package)-[a-z]+)", listed)) == {
        "package-heroku",
        "package-example",
        "deploy-example",
        "deploy-heroku",
    }
    run(fork, "make", "-s", "deploy-example", "packages")
    assert (fork / "dist/example_cloud/main.py").is_file()
    assert (fork / "dist/example_cloud/core/receiver.py").is_file()

    planned = run(fork, "make", "--dry-run", "tools", "hosts", "lock")
    assert not any(name in planned for name in REMOVED)
    locked = [name for names in re.findall("for name in (.*); do", planned) for name in names.split() if "/" in name]
    assert "example_cloud/requirements" in locked
    for name in ("requirements/dev", *locked):
        for included in re.findall("^-r (.*)", (fork / f"{name}.in").read_text(), re.MULTILINE):
            assert (fork / name).parent.joinpath(included).is_file(), name

    collected = {line.rpartition("::")[2] for line in run_pytest(fork, "--collect-only", "tests/contract").splitlines()}
    for case in ("get_the_same_answer[Example]", "block_answers[Example]", "case_insensitive[Example-x-dt-signature]"):
        assert any(line.endswith(case) for line in collected), case
    assert "test_duplicate_changes_nothing[example files]" in collected
    assert not [line for line in collected for name in gone() if f"[{name}]" in line or f"[{name}-" in line]
    run_pytest(fork, "tests/contract", "-k", "(Example or example or (sqlite and survives)) and not unread_log")
    docs = (f"tests/docs/test_{name}.py" for name in ("docs", "settings", "architecture", "workflows"))
    run_pytest(fork, *docs, "tests/tools/test_size.py", "tests/tools/test_package.py")


def gone() -> set[str]:
    """Return the contract suites' names of the removed adapters and stores."""
    adapters = {name for module in found("adapters") if _folder(module) in REMOVED for name in module.ADAPTERS}
    return adapters | {name for module in found("stores") if _folder(module) in REMOVED for name in module.STORES}


def _folder(module: ModuleType) -> str:
    return module.__name__.split(".")[1]


def imports(fork: Path) -> set[str]:
    """Return the top-level package of each imported module."""
    names = set()
    for path in fork.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names
