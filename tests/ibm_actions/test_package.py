"""The package that `make package-ibm` writes, installed into empty environments, run as Code Engine does."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.couchdb import Events
from tests.support.deliveries import ORGANIZATION, SECRET, fresh_body, signed
from tests.support.environments import environment_of, unpacked
from tests.support.es256 import JWKS, es256
from tests.support.ibm import code_engine, openwhisk
from tests.support.pages import PAGES
from tests.support.processes import ROOT, running

REQUIREMENTS = ("requirements.txt", "app-requirements.txt")
FAMILIES: dict[str, Callable[..., dict[str, Any]]] = {"Code Engine": code_engine(), "OpenWhisk": openwhisk}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked zip, outside the repository, in the folder name of IBM's page."""
    return unpacked("ibm", tmp_path_factory.mktemp("zip") / "func")


@pytest.fixture(scope="module")
def pythons(package: Path) -> dict[str, Path]:
    """Environments with only the requirements of the function, and of the application."""
    return environments_of(package)


@pytest.fixture(scope="module")
def es256_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("ibm", tmp_path_factory.mktemp("es256") / "func", "--es256")


@pytest.fixture(scope="module")
def es256_pythons(es256_package: Path) -> dict[str, Path]:
    return environments_of(es256_package)


def environments_of(package: Path) -> dict[str, Path]:
    with ThreadPoolExecutor() as threads:
        made = threads.map(lambda name: environment_of(package, name), REQUIREMENTS)
        return dict(zip(REQUIREMENTS, made, strict=True))


def test_package_contents(package: Path) -> None:
    found = {path.name for path in package.iterdir()}
    files = {"__main__.py", "requirements.txt", "app-requirements.txt", "Dockerfile", ".ceignore", "LICENSE"}
    assert found == {*files, "core", "server", "ibm_actions"}
    for folder in ("core", "server", "ibm_actions"):
        assert {path.relative_to(package) for path in (package / folder).rglob("*.py")} == {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*.py")
            if path.name not in ("__main__.py", "deployment.py", "worker.py")
        }
    for name in files - {"LICENSE"}:
        assert (package / name).read_bytes() == (ROOT / "ibm_actions" / name).read_bytes()


@pytest.mark.parametrize("name", REQUIREMENTS)
@pytest.mark.parametrize("es256", [False, True])
def test_requirements_of_the_package_are_pinned(name: str, es256: bool, package: Path, es256_package: Path) -> None:
    lines = re.sub(r"\\\n\s*", " ", ((es256_package if es256 else package) / name).read_text()).splitlines()
    pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(pins) > 5
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+( +# via .+)?", pin), pin
    names = {pin.partition("==")[0] for pin in pins}
    assert {"pyjwt", "ibm-cloud-sdk-core", "certifi", "urllib3"} <= names
    assert ("cryptography" in names) is es256
    assert {"uvicorn", "uvloop", "httptools"} <= names or name == "requirements.txt"
    # Of IBM's own, only what asks for tokens.
    assert "ibmcloudant" not in names
    assert not {"pytest", "uvicorn"} & names or name == "app-requirements.txt"


def test_package_shadows_no_module_of_the_standard_library(package: Path) -> None:
    at_the_root = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()} - {"__main__"}
    assert at_the_root & sys.stdlib_module_names == set()


def test_action_for_openwhisk_names_nothing_to_install(package: Path, tmp_path: Path) -> None:
    """The commands of README.md, but for those that package and install, which other tests run."""
    shutil.copytree(package, tmp_path / "dist" / "ibm_actions")
    script = PAGES["ibm_actions/README.md"].of("sh", "Apache OpenWhisk")[0]
    (lines,) = re.findall(r"--requirement \S+\n(.*)", script, re.DOTALL)
    subprocess.run(["sh", "-eu", "-c", lines], cwd=tmp_path, check=True)
    with zipfile.ZipFile(tmp_path / "dist" / "action.zip") as action:
        assert "__main__.py" in action.namelist()
        assert not [name for name in action.namelist() if "requirements" in name]


# As the runtimes load it: https://github.com/apache/openwhisk-runtime-python
CALL = """
import importlib.util, json, sys

root, calls = sys.argv[1:]
sys.path.insert(0, root)
spec = importlib.util.spec_from_file_location("main__", f"{root}/__main__.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for params in json.loads(calls):
    print("result", json.dumps(module.main(params)))
print("modules", json.dumps({name: getattr(module, "__file__", None) for name, module in sys.modules.items()}))
"""


@pytest.mark.long
def test_packaged_function_alone_stores_events(
    es256_package: Path, es256_pythons: dict[str, Path], environ: dict[str, str], events: Events, tmp_path: Path
) -> None:
    calls, contents = [], []
    for made in FAMILIES.values():
        one, other = fresh_body(), fresh_body()
        contents += [one, other]
        asymmetric = {"Content-Type": "application/json", "DT-Asymmetric-Signature": es256(other)}
        for content, headers in ((one, {}), (one, signed(one)), (one, signed(one)), (other, asymmetric)):
            calls.append(made("POST", "/", list(headers.items()), content))
    done = subprocess.run(
        # -I: nothing is on the path but the environment's own.
        [es256_pythons["requirements.txt"], "-I", "-W", "error", "-c", CALL, str(es256_package), json.dumps(calls)],
        cwd=tmp_path,
        env={**environ, "DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    results = [json.loads(result) for result in re.findall("^result (.*)$", done.stdout, re.MULTILINE)]
    found = [(each["statusCode"], each["headers"].get("event-outcome")) for each in results]
    assert found == [(401, None), (200, "stored"), (200, "duplicate"), (200, "stored")] * 2
    assert json.loads(base64.b64decode(results[0]["body"]))["status"] == 401
    assert sorted(document["body"] for document in events.documents()) == sorted(contents)
    [modules] = [json.loads(found) for found in re.findall("^modules (.*)$", done.stdout, re.MULTILINE)]
    assert Path(modules["core"]).is_relative_to(es256_package)
    assert Path(modules["ibm_actions"]).is_relative_to(es256_package)
    loaded = {name.partition(".")[0] for name in modules}
    # What asks IAM for tokens takes longer to import than all the rest; a password does without.
    assert not {"ibmcloudant", "ibm_cloud_sdk_core", "uvicorn", "tests"} & loaded


# A program beside the function's folder, as IBM describes it for a local run without Code Engine.
WRAPPER = """
import json, pathlib, sys

from func.__main__ import main

print(json.dumps(main(json.loads(pathlib.Path(sys.argv[1]).read_text()))))
assert pathlib.Path(sys.modules["core"].__file__).is_relative_to(pathlib.Path("func").resolve())
"""


def test_packaged_function_can_be_imported_from_outside(
    package: Path, pythons: dict[str, Path], environ: dict[str, str], events: Events
) -> None:
    content = fresh_body()
    folder = package.parent
    (folder / "wrapper.py").write_text(WRAPPER)
    params = code_engine()("POST", "/", list(signed(content).items()), content)
    (folder / "params.json").write_text(json.dumps(params))
    done = subprocess.run(
        [pythons["requirements.txt"], "-W", "error", "wrapper.py", "params.json"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout.splitlines()[-1])["statusCode"] == 200
    assert [document["body"] for document in events.documents()] == [content]


@pytest.mark.long
def test_packaged_application_alone_stores_events(
    es256_package: Path, es256_pythons: dict[str, Path], environ: dict[str, str], events: Events, tmp_path: Path
) -> None:
    python = es256_pythons["app-requirements.txt"]
    environ |= {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS}
    one, other = fresh_body(), fresh_body()
    with running("ibm_actions.app", environ, tmp_path, root=es256_package, python=str(python)) as server:
        assert server.request("POST", "/", {}, one).status == 401
        assert server.request("POST", "/", signed(one), one).headers["event-outcome"] == "stored"
        assert server.request("POST", "/", signed(one), one).headers["event-outcome"] == "duplicate"
        asymmetric = {"DT-Asymmetric-Signature": es256(other)}
        assert server.request("POST", "/", asymmetric, other).headers["event-outcome"] == "stored"
        # The repository is not on its path.
        maps = Path(f"/proc/{server.process.pid}/environ")
        assert not maps.exists() or f"{ROOT}{os.sep}".encode() not in maps.read_bytes()
        assert server.stop() == 0
        assert "Traceback" not in server.output()
    assert sorted(document["body"] for document in events.documents()) == sorted([one, other])


WAYS = {
    "a trusted profile": (
        {"DT_TRUSTED_PROFILE": "Profile-x"},
        "IAM: no compute resource token. Is the trusted profile linked to this application?",
    ),
    "an API key": ({"DT_CLOUDANT_API_KEY": "a key", "DT_IAM_URL": "http://127.0.0.1:9"}, "IAM: NewConnectionError"),
}


@pytest.mark.long
@pytest.mark.parametrize(("way", "reason"), WAYS.values(), ids=WAYS)
def test_package_alone_can_log_in(way: dict[str, str], reason: str, package: Path, pythons: dict[str, Path]) -> None:
    """The login fails because IAM is unreachable, not because a module is missing."""
    content = fresh_body()
    params = code_engine()("POST", "/", list(signed(content).items()), content)
    done = subprocess.run(
        [pythons["requirements.txt"], "-I", "-W", "error", "-c", CALL, str(package), json.dumps([params])],
        env={"DT_SIGNATURE_SECRET": SECRET, "DT_CLOUDANT": "https://cloudant.invalid", **way},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    [line] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert (line["outcome"], line["reason"]) == ("failed", reason)


MISSING = "DT_ORGANIZATION_ID needs the package cryptography"


def test_function_without_cryptography_says_so_in_one_sentence(
    package: Path, pythons: dict[str, Path], environ: dict[str, str]
) -> None:
    content = fresh_body()
    params = code_engine()("POST", "/", list(signed(content).items()), content)
    done = subprocess.run(
        [pythons["requirements.txt"], "-I", "-W", "error", "-c", CALL, str(package), json.dumps([params])],
        env={**environ, "DT_ORGANIZATION_ID": ORGANIZATION},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    [result] = [json.loads(found) for found in re.findall("^result (.*)$", done.stdout, re.MULTILINE)]
    assert result["statusCode"] == 503
    assert MISSING in done.stdout


def test_application_without_cryptography_does_not_start(
    package: Path, pythons: dict[str, Path], environ: dict[str, str]
) -> None:
    """So its revision never becomes ready, and the one before goes on."""
    done = subprocess.run(
        [pythons["app-requirements.txt"], "-P", "-m", "ibm_actions.app"],
        env={**environ, "DT_ORGANIZATION_ID": ORGANIZATION, "PYTHONPATH": str(package), "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert MISSING in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
