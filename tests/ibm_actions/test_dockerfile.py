"""The Dockerfile against the package that it copies. No image is built."""

import ast
import importlib.util
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.tools import Tools

TOOLS = Tools("ibm", "hadolint", "shellcheck")
ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "ibm_actions" / "Dockerfile"


def instructions(text: str) -> list[tuple[str, str]]:
    """Return each instruction with its arguments, without comments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found: list[tuple[str, str]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        found.append((name, rest.strip()))
    return found


FOUND = instructions(DOCKERFILE.read_text())


def every(name: str) -> list[str]:
    return [rest for found, rest in FOUND if found == name]


@pytest.fixture(scope="module")
def package() -> Mapping[str, Path]:
    """The files that `make package-ibm` writes, by destination: the folder that the image is built from."""
    spec = importlib.util.spec_from_file_location("package", ROOT / "tools" / "package.py")
    assert spec
    assert spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found, left_out = module.sources(module.PACKAGES["ibm"])
    assert left_out == [], "each has its place, in the package or elsewhere"
    files: Mapping[str, Path] = found
    return files


@TOOLS.needed
def test_hadolint_passes() -> None:
    done = TOOLS.run("hadolint", "--no-color", str(DOCKERFILE))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_package_root_has_the_files_of_both_forms(package: Mapping[str, Path]) -> None:
    assert {name for name in package if "/" not in name} == {
        *("Dockerfile", "app-requirements.txt", "__main__.py", "requirements.txt", ".ceignore", "LICENSE")
    }
    assert {name.split("/")[0] for name in package if "/" in name} == {"core", "server", "ibm_actions"}
    assert "ibm_actions/__main__.py" not in package, "it is at the root"


def test_copied_files_are_in_the_package(package: Mapping[str, Path]) -> None:
    copied = [shlex.split(rest) for rest in every("COPY")]
    assert copied == [
        ["app-requirements.txt", "./"],
        ["core", "core/"],
        ["server", "server/"],
        ["ibm_actions", "ibm_actions/"],
    ]
    for source, _ in copied:
        assert source in package or any(name.startswith(f"{source}/") for name in package)


def test_libraries_are_installed_before_the_code_with_hashes(package: Mapping[str, Path]) -> None:
    (install,) = (rest for rest in every("RUN") if "pip" in rest)
    assert {"--require-hashes", "--no-cache-dir", "--no-deps"} <= set(shlex.split(install))
    places = [found for found in FOUND if found[0] in ("COPY", "RUN")]
    assert places.index(("RUN", install)) < places.index(("COPY", "core core/"))
    pinned = re.findall(r"^([\w-]+)==\S+(.*)", package["app-requirements.txt"].read_text(), re.MULTILINE)
    assert "uvicorn" in dict(pinned)


def test_python_version_is_that_of_the_function(package: Mapping[str, Path]) -> None:
    (image,) = every("FROM")
    (runtime,) = re.findall(r"^RUNTIME=(\S+)$", (ROOT / "ibm_actions/deploy/code_engine.sh").read_text(), re.MULTILINE)
    assert image == f"{runtime.replace('-', ':')}-slim"


def test_container_runs_as_an_unprivileged_user() -> None:
    (user,) = every("USER")
    assert re.fullmatch(r"[1-9]\d{3,}", user), "a number, and not root's"
    # Files copied later, or owned by it, could be changed.
    assert [name for name, _ in FOUND][-1] == "CMD"
    assert FOUND.index(("USER", user)) > max(FOUND.index(it) for it in FOUND if it[0] in ("COPY", "RUN"))
    assert "--chown" not in DOCKERFILE.read_text()


def test_command_is_an_existing_module_without_a_shell(package: Mapping[str, Path]) -> None:
    (command,) = every("CMD")
    python, option, module = json.loads(command)
    assert (python, option) == ("python", "-m")
    tree = ast.parse(package[module.replace(".", "/") + ".py"].read_text())
    assert any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)
    assert every("ENTRYPOINT") == []


def test_exposed_port_is_the_default_port(package: Mapping[str, Path]) -> None:
    (port,) = every("EXPOSE")
    assert f"serve(build_async_receiver, {port})" in package["ibm_actions/app.py"].read_text()
    assert f"--port {port}" in (ROOT / "ibm_actions/deploy/code_engine.sh").read_text()


def test_ignore_files_keep_the_whole_package(package: Mapping[str, Path]) -> None:
    """With the syntax of .gitignore: https://cloud.ibm.com/docs/codeengine?topic=codeengine-app-local-source-code."""
    lines = package[".ceignore"].read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for name in package:
        for pattern in patterns:
            regex = re.escape(pattern.rstrip("/")).replace(r"\*", "[^/]*")
            ends = "/" if pattern.endswith("/") else "(/|$)"
            assert not re.search(rf"(^|/){regex}{ends}", name), (name, pattern)
