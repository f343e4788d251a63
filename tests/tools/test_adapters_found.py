"""An adapter is added or removed with its own two folders, and hardly anything else: nothing lists the adapters."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.found import ADAPTER_FOLDERS
from tests.support.repository import copy_repository
from tests.tools.example_cloud import FILES

# dtconn reads the databases of the others.
REMOVED = [folder.name for folder in ADAPTER_FOLDERS if folder.name not in ("local", "heroku")]
# The rows of the removed in the one, and what `make settings` writes in the other.
TOUCHED = {"README.md", "docs/settings.md"}


def run(fork: Path, *command: str) -> str:
    """Run a command in a fork, with nothing of what the tests around it have set, and return all that it printed."""
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
    """A fork without any of the clouds, with another, and with what that takes done to its documentation."""
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


def test_clouds_are_removed_and_another_is_added(fork: Path) -> None:
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
    }
    run(fork, "make", "-s", "deploy-example", "package-heroku")
    assert (fork / "dist/example_cloud/main.py").is_file()
    assert (fork / "dist/example_cloud/core/receiver.py").is_file()

    collected = run_pytest(fork, "--collect-only")
    for case in ("test_what_is_not_verified_is_refused_alike[Example]", "[Example-", "[example files]", "[local]"):
        assert case in collected
    run_pytest(fork, "tests/contract", "-k", "Example or example or (sqlite and survives)")
    docs = (f"tests/docs/test_{name}.py" for name in ("docs", "settings", "architecture", "workflows"))
    run_pytest(fork, *docs, "tests/tools/test_size.py", "tests/tools/test_package.py")


def imports(fork: Path) -> set[str]:
    """Return the first part of the name of each module that is imported anywhere."""
    found = set()
    for path in fork.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found
