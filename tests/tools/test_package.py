"""tools/package.py, in a small test repository and in this one."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCES = {
    "LICENSE": "the licence",
    "core/__init__.py": '"""Core."""',
    "core/deep/er.py": "er = 1",
    "heroku/__init__.py": "",
    "heroku/schema.sql": "SELECT 1;",
    "heroku/wiring.py": "app = 1",
    "heroku/Procfile": "web: python -m heroku",
    "heroku/app.json": "{}",
    "heroku/.python-version": "3.13",
    "heroku/requirements.txt": "pyjwt==2",
    "heroku/README.md": "# Heroku",
    "heroku/package.toml": (ROOT / "heroku" / "package.toml").read_text(),
}
PACKAGE = [
    ".python-version",
    "LICENSE",
    "Procfile",
    "README.md",
    "app.json",
    "core/__init__.py",
    "core/deep/er.py",
    "heroku/__init__.py",
    "heroku/schema.sql",
    "heroku/wiring.py",
    "requirements.txt",
]


@dataclass
class Repository:
    folder: Path

    @property
    def dist(self) -> Path:
        return self.folder / "dist" / "heroku"

    def write(self, place: str, text: str) -> None:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def package(self, *arguments: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.folder / "tools" / "package.py"), *arguments]
        # From another folder: nothing may hang on where it is called.
        return subprocess.run(command, cwd="/", umask=umask, capture_output=True, text=True, timeout=60, check=False)

    def written(self) -> list[str]:
        return sorted(path.relative_to(self.dist).as_posix() for path in self.dist.rglob("*") if not path.is_dir())


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "a repository")
    for place, text in SOURCES.items():
        repository.write(place, text)
    (repository.folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "package.py", repository.folder / "tools")
    return repository


def test_package_has_core_adapter_and_platform_files(repository: Repository) -> None:
    done = repository.package("heroku")
    assert (done.returncode, done.stderr) == (0, "")
    assert repository.written() == PACKAGE
    for place in PACKAGE:
        assert (repository.dist / place).read_text() == SOURCES.get(place, SOURCES.get(f"heroku/{place}"))


def test_packaged_files_and_sizes_are_printed(repository: Repository) -> None:
    lines = repository.package("heroku").stdout.splitlines()
    assert [line.split() for line in lines[:-1]] == [
        [str((repository.dist / place).stat().st_size), place] for place in PACKAGE
    ]
    total = sum((repository.dist / place).stat().st_size for place in PACKAGE)
    assert lines[-1].split() == [str(total), "bytes", "in", str(len(PACKAGE)), "files:", "dist/heroku/"]


def test_requirements_of_es256_are_merged(repository: Repository) -> None:
    shared = "b==1 \\\n    --hash=sha256:00\n    # via x\n"
    repository.write("heroku/requirements.txt", f"# made by\n#    make lock\n{shared}")
    es256 = f"# made by\na==2 \\\n    --hash=sha256:01 \\\n    --hash=sha256:02\n{shared}"
    repository.write("requirements/es256.txt", es256)
    done = repository.package("heroku", "--es256")
    assert (done.returncode, done.stderr) == (0, "")
    text = (repository.dist / "requirements.txt").read_text()
    assert text == f"a==2 \\\n    --hash=sha256:01 \\\n    --hash=sha256:02\n{shared}"
    assert f"{len(text)}  requirements.txt" in done.stdout
    (repository.folder / "requirements" / "es256.txt").unlink()
    done = repository.package("heroku", "--es256")
    assert (done.returncode, done.stderr) == (1, "There is no requirements/es256.txt: restore it from git.\n")


@pytest.mark.parametrize(
    "stray",
    [
        "heroku/.env",
        "heroku/.env.py",
        "heroku/credentials.json",
        "heroku/private.pem",
        "heroku/events.db",
        "heroku/events.db-wal",
        "heroku/var/dump",
        "core/notes.txt",
    ],
)
def test_stray_files_are_left_out_and_named(repository: Repository, stray: str) -> None:
    repository.write(stray, "not for the cloud")
    done = repository.package("heroku")
    assert repository.written() == PACKAGE
    assert f" left out  {stray}\n" in done.stdout


@pytest.mark.parametrize(
    "stray",
    [
        "heroku/tests/test_app.py",
        "heroku/requirements.in",
        "heroku/.cache/x.py",
        "core/__pycache__/x.cpython-313.pyc",
        "var/secret.py",
    ],
)
def test_tests_and_caches_are_left_out_silently(repository: Repository, stray: str) -> None:
    repository.write(stray, "not for the cloud")
    assert "left out" not in repository.package("heroku").stdout
    assert repository.written() == PACKAGE


def test_symbolic_link_out_of_the_repository_is_not_followed(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("secret = 1")
    (repository.folder / "heroku" / "link.py").symlink_to(tmp_path / "secret.py")
    (repository.folder / "heroku" / "folder").symlink_to(tmp_path)
    assert " left out  heroku/link.py\n" in repository.package("heroku").stdout
    assert repository.written() == PACKAGE


def test_package_is_reproducible(repository: Repository) -> None:
    def state() -> list[tuple[str, bytes, int, int]]:
        return [
            (str(path), b"" if path.is_dir() else path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
            for path in sorted((repository.dist, *repository.dist.rglob("*")))
        ]

    first = repository.package("heroku").stdout
    before = state()
    for place in SOURCES:
        os.utime(repository.folder / place)
        (repository.folder / place).chmod(0o600)
    assert repository.package("heroku", umask=0o077).stdout == first
    assert state() == before


def test_old_package_is_removed_except_its_git_folder(repository: Repository) -> None:
    for place in ("old.py", "core/old.py", "older/old.py", ".git/config"):
        repository.write(f"dist/heroku/{place}", "old")
    (repository.dist / "link").symlink_to(repository.folder / "core")
    repository.write("dist/other/file", "another cloud's")
    repository.package("heroku")
    assert repository.written() == sorted([".git/config", *PACKAGE])
    assert (repository.folder / "core" / "__init__.py").is_file()
    assert (repository.folder / "dist" / "other" / "file").is_file()


@pytest.mark.parametrize("gone", ["LICENSE", "heroku/Procfile", "heroku/.python-version", "core/__init__.py"])
def test_missing_file_is_an_error_and_keeps_the_old_package(repository: Repository, gone: str) -> None:
    repository.package("heroku")
    (repository.folder / gone).unlink()
    done = repository.package("heroku")
    assert (done.returncode, done.stdout) == (1, "")
    assert gone in done.stderr
    assert done.stderr.endswith(".\n")
    assert "Traceback" not in done.stderr
    assert repository.written() == PACKAGE


def test_help_has_examples(repository: Repository) -> None:
    done = repository.package("--help")
    assert done.returncode == 0
    assert "python tools/package.py heroku" in done.stdout


def test_unknown_cloud_is_refused_with_a_list(repository: Repository) -> None:
    done = repository.package("mainframe")
    assert done.returncode == 2
    assert "heroku" in done.stderr
    assert not repository.dist.exists()


# The database need not be there: neither of these requests comes that far.
ASK = """
import asyncio, json
import core
from core.http import Request
from heroku.wiring import build_receiver
import server.serve

async def main():
    receiver = build_receiver({"DT_SIGNATURE_SECRET": "s" * 32, "DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"})
    server.serve.build_app(receiver)
    asked = Request("GET", "/healthz", [], b""), Request("POST", "/", [], b"{}")
    return [(await receiver.handle(request)).status for request in asked]

print(json.dumps([core.__file__, asyncio.run(main())]))
"""


def test_package_of_this_repository_runs_alone(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    for folder in ("core", "server", "heroku"):
        shutil.copytree(ROOT / folder, repository.folder / folder)
    (repository.folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "package.py", repository.folder / "tools")
    shutil.copy(ROOT / "LICENSE", repository.folder)
    assert repository.package("heroku").returncode == 0
    moved = shutil.move(repository.dist, tmp_path / "app")
    shutil.rmtree(repository.folder)
    # -P, and a folder with nothing in it: the package is all that there is of this project.
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", ASK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(moved), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [str(Path(moved) / "core" / "__init__.py"), [200, 401]]
