"""tools/python.sh, with a test home, root and PATH, and fake interpreters."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "python.sh"

# In each, the script's own probe is run by the Python of these tests, after it was told what to pretend.
OLD = "sys.version_info = (3, 10, 9)"
NO_VENV = "sys.modules['venv'] = None"
NO_ENSUREPIP = "sys.modules['ensurepip'] = None"
NO_SQLITE = "sys.modules['sqlite3'] = None"
NO_SSL = "sys.modules['ssl'] = None"
PYPY = "sys.implementation.name = 'pypy'"
FREE_THREADED = "import sysconfig; sysconfig.get_config_var = lambda name: 1"


@dataclass
class Machine:
    """A machine with nothing on it but what a test puts there."""

    folder: Path

    def python(self, place: str, pretend: str = "pass") -> str:
        """Create an interpreter at ``place`` that works, except for what it pretends; return its path."""
        code = f"import sys; sys.executable = sys.argv[2]; {pretend}; exec(sys.argv[1])"
        return self.script(place, f'exec "{sys.executable}" -I -c "{code}" "$3" "$0"')

    def shim(self, place: str) -> str:
        """Create the failing shim that pyenv leaves for a version that is not selected."""
        return self.script(place, 'echo "pyenv: command not found" >&2\necho "Note: see pyenv help" >&2\nexit 127')

    def script(self, place: str, lines: str) -> str:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return str(path)

    def run(self, path: str = "bin", *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the script; ``path`` lists the folders before those of the few tools that it needs."""
        folders = [str(self.folder / name) for name in path.split(":")] + [str(self.folder / "tools")]
        environ = {
            "PATH": ":".join(folders),
            "HOME": str(self.folder / "home"),
            "PYTHON_SH_ROOT": str(self.folder / "root"),
            **environ,
        }
        command = ["sh", str(SCRIPT), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    def finds(self, path: str = "bin", environ: Mapping[str, str] | None = None) -> str:
        done = self.run(path, **(environ or {}))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.removesuffix("\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "a machine"
    (folder / "tools").mkdir(parents=True)
    for name in ("sh", "sort", "tr", "sed", "awk"):
        tool = shutil.which(name)
        assert tool
        (folder / "tools" / name).symlink_to(tool)
    return Machine(folder)


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["3.11", "3.12", "3.13", "3.14"], "3.13"),
        (["3.11", "3.12", "3.14"], "3.14"),
        (["3.11", "3.12"], "3.12"),
        (["3.11", "3.10", "3"], "3.11"),
        (["3", ""], "3"),
        ([""], ""),
    ],
)
def test_version_of_the_clouds_then_the_newest(machine: Machine, there: list[str], found: str) -> None:
    paths = {version: machine.python(f"bin/python{version}") for version in there}
    assert machine.finds() == paths[found]


def test_requested_version_only(machine: Machine) -> None:
    newer = machine.python("bin/python3.13")
    # Named python3.11, but another version.
    machine.python("bin/python3.11", "sys.version_info = (3, 13, 0)")
    done = machine.run("bin", "3.11", PYTHON=newer)
    assert (done.returncode, done.stdout) == (1, "")
    assert "this needs 3.11, with" in done.stderr
    found = machine.python("root/usr/bin/python3.11", "sys.version_info = (3, 11, 2)")
    assert machine.run("bin", "3.11", PYTHON=newer).stdout == f"{found}\n"


@pytest.mark.parametrize(
    "place",
    [
        "home/.pyenv/versions/3.13.1/bin/python3.13",
        "home/.local/share/uv/python/cpython-3.13.1-linux-x86_64-gnu/bin/python3.13",
        "root/opt/homebrew/bin/python3.13",
        "root/opt/homebrew/opt/python@3.13/bin/python3.13",
        "root/home/linuxbrew/.linuxbrew/bin/python3.13",
        "root/opt/python3.13/bin/python3.13",
        "root/opt/python/3.13.1/bin/python3.13",
        "root/usr/local/bin/python3.13",
        "root/usr/local/opt/python@3.13/bin/python3.13",
        "root/Library/Frameworks/Python.framework/Versions/3.13/bin/python3.13",
        "root/usr/bin/python3.13",
    ],
)
def test_every_install_location_is_searched(machine: Machine, place: str) -> None:
    machine.python("bin/python3.12")
    assert machine.python(place) == machine.finds()


@pytest.mark.parametrize(
    ("variable", "folder", "place"),
    [
        ("PYENV_ROOT", "elsewhere", "elsewhere/versions/3.13.1/bin/python3.13"),
        ("UV_PYTHON_INSTALL_DIR", "elsewhere", "elsewhere/cpython-3.13.1-macos-aarch64-none/bin/python3.13"),
        ("XDG_DATA_HOME", "data", "data/uv/python/cpython-3.13.1-macos-aarch64-none/bin/python3.13"),
    ],
)
def test_variables_of_version_managers(machine: Machine, variable: str, folder: str, place: str) -> None:
    assert machine.python(place) == machine.finds(environ={variable: str(machine.folder / folder)})


def test_newest_patch_version_of_a_manager(machine: Machine) -> None:
    paths = [machine.python(f"home/.pyenv/versions/3.13.{patch}/bin/python3.13") for patch in (1, 9, 12)]
    assert machine.finds() == paths[-1]


def test_failing_shim_does_not_hide_a_later_python(machine: Machine) -> None:
    machine.shim("shims/python3.13")
    assert machine.python("bin/python3.13") == machine.finds("shims:bin")


def test_shim_that_works_only_for_an_older_version(machine: Machine) -> None:
    for version in ("3.13", "3.14", "3.12"):
        machine.shim(f"shims/python{version}")
    assert machine.python("shims/python3.11") == machine.finds("shims")


def test_non_executable_python_is_skipped(machine: Machine) -> None:
    Path(machine.python("bin/python3.13")).chmod(0o644)
    (machine.folder / "bin" / "python3.14").mkdir()
    assert "Passed over" not in machine.run().stderr
    assert machine.python("bin/python3.12") == machine.finds()


@pytest.mark.parametrize(
    ("pretend", "reason"),
    [
        (OLD, "is Python 3.10"),
        (NO_VENV, "lacks the module venv"),
        (NO_ENSUREPIP, "lacks the module ensurepip"),
        (NO_SQLITE, "lacks the module sqlite3"),
        (NO_SSL, "lacks the module ssl"),
        (PYPY, "is not the ordinary CPython, for which the requirements have binaries"),
        (FREE_THREADED, "is not the ordinary CPython, for which the requirements have binaries"),
    ],
)
def test_unsuitable_python_is_skipped_and_named(machine: Machine, pretend: str, reason: str) -> None:
    unsuitable = machine.python("bin/python3.13", pretend)
    done = machine.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"Passed over:\n  {unsuitable} {reason}\n")
    assert machine.python("bin/python3.11") == machine.finds()


def test_no_python_says_what_to_install(machine: Machine) -> None:
    done = machine.run()
    assert (done.returncode, done.stdout) == (1, "")
    for system in ("Debian", "macOS", "Windows", "PYTHON="):
        assert system in done.stderr
    assert "Passed over" not in done.stderr


def test_first_line_of_a_shim_error_is_printed(machine: Machine) -> None:
    shim = machine.shim("bin/python3.13")
    # Twice on PATH is still one.
    assert machine.run("bin:bin").stderr.endswith(f"Passed over:\n  {shim} pyenv: command not found\n")


def test_PYTHON_variable_is_preferred(machine: Machine) -> None:
    machine.python("bin/python3.13")
    mine = machine.python("my own/python")
    assert machine.finds(environ={"PYTHON": mine}) == mine
    # A name is looked up, as a shell would.
    assert machine.python("bin/python3.11") == machine.finds(environ={"PYTHON": "python3.11"})


@pytest.mark.parametrize("pretend", [OLD, NO_ENSUREPIP])
def test_unsuitable_PYTHON_variable_is_an_error(machine: Machine, pretend: str) -> None:
    machine.python("bin/python3.13")
    mine = machine.python("mine/python", pretend)
    done = machine.run(PYTHON=mine)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"PYTHON={mine} is not suitable" in done.stderr
    assert ("is Python 3.10" if pretend == OLD else "lacks the module ensurepip") in done.stderr


def test_missing_PYTHON_variable_target_is_an_error(machine: Machine) -> None:
    done = machine.run(PYTHON="python9")
    assert (done.returncode, done.stdout) == (1, "")
    assert "PYTHON=python9 is not suitable" in done.stderr


def test_real_interpreter() -> None:
    environ = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(["sh", SCRIPT], env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{sys.executable}\n"
