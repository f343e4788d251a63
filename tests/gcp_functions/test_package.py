"""The package that `make package-gcp` writes, installed into an empty environment and served as Google does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deliveries import ORGANIZATION, SECRET, fresh_body, signed
from tests.support.environments import environment_of, unpacked
from tests.support.es256 import JWKS, es256
from tests.support.google import Emulator, Firestore, PubSub
from tests.support.processes import ROOT, running


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that is in the zip, far from the repository, compiled as the buildpack does."""
    folder = unpacked("gcp", tmp_path_factory.mktemp("zip") / "workspace")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def python(package: Path) -> Path:
    """An environment with the package's own requirements and nothing else."""
    return environment_of(package)


def test_package_contents(package: Path) -> None:
    """No pyproject.toml, beside which the buildpack would not take requirements.txt."""
    found = {path.name for path in package.iterdir()} - {"__pycache__"}
    assert found == {"main.py", "requirements.txt", "LICENSE", "core", "gcp_functions"}
    assert {path.name for path in (package / "gcp_functions").glob("*.py")} == {
        path.name
        for path in (ROOT / "gcp_functions").glob("*.py")
        if path.name not in ("main.py", "deployment.py", "worker.py")
    }
    assert "functions-framework==" in (package / "requirements.txt").read_text()


@pytest.mark.long
@pytest.mark.parametrize("store", ["pubsub", "firestore"])
def test_package_alone_stores_events(
    package: Path, python: Path, tmp_path: Path, store: str, pubsub: Emulator, firestore: Emulator
) -> None:
    topic, database = PubSub(pubsub.host), Firestore(firestore.host)
    environ = {
        "FUNCTION_SOURCE": str(package / "main.py"),
        "FUNCTION_TARGET": "receive",
        "DT_STORE": store,
        "DT_TOPIC": topic.topic,
        "DT_FIRESTORE": database.database,
        "PUBSUB_EMULATOR_HOST": pubsub.host,
        "FIRESTORE_EMULATOR_HOST": firestore.host,
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_ORGANIZATION_ID": ORGANIZATION,
        "DT_JWKS": JWKS,
    }
    one, other = fresh_body(), fresh_body()
    with running("functions_framework", environ, tmp_path, root=package, python=str(python)) as server:
        assert server.request("POST", "/", {}, one).status == 401
        assert server.request("POST", "/", signed(one), one).headers["event-outcome"] == "stored"
        assert server.request("POST", "/", signed(one), one).headers["event-outcome"] == "duplicate"
        asymmetric = {"DT-Asymmetric-Signature": es256(other)}
        assert server.request("POST", "/", asymmetric, other).headers["event-outcome"] == "stored"
        # The repository is not on its path.
        maps = Path(f"/proc/{server.process.pid}/environ")
        assert not maps.exists() or f"{ROOT}{os.sep}".encode() not in maps.read_bytes()
    stored = topic.messages() if store == "pubsub" else database.documents()
    assert sorted(each["body"] for each in stored) == sorted([one, other])
