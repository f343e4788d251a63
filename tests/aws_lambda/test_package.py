"""The package that `make package-aws` writes, run by AWS's runtime client with nothing else installed."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.aws import EVENTS_KEYS, SEEN_KEYS, create_queue, create_table, items, messages
from tests.support.deliveries import ORGANIZATION, SECRET, fresh_body, signed
from tests.support.es256 import JWKS, es256
from tests.support.front_doors import AWS_FRONT_DOORS
from tests.support.moto import MotoServer
from tests.support.processes import ROOT
from tests.support.sandbox import sandbox

DOOR = AWS_FRONT_DOORS["Function URL"]
# No site-packages, so that what the package lacks is not found in the tests' own environment.
PYTHON = (sys.executable, "-S", "-B")

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 13),
    reason="the package has bytecode of Lambda's Python, which is 3.13",
)


def make(*arguments: str) -> Path:
    command = [sys.executable, str(ROOT / "tools" / "package.py"), "aws", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "dist" / "aws_lambda.zip"


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack as Lambda does: with the current time, and read-only."""
    with zipfile.ZipFile(archive) as package:
        package.extractall(folder)
    for path in folder.rglob("*"):
        os.utime(path)
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(make(), tmp_path_factory.mktemp("zip")))


@pytest.fixture
def package(archive: Path, tmp_path: Path) -> Path:
    return unpack(archive, tmp_path / "task")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda has beside the package: its runtime client."""
    folder = tmp_path_factory.mktemp("runtime")
    for pattern in ("awslambdaric", "runtime_client*", "simplejson", "snapshot_restore_py"):
        for found in Path(sysconfig.get_paths()["purelib"]).glob(pattern):
            (folder / found.name).symlink_to(found)
    return folder


@pytest.mark.long
def test_package_is_small_and_reproducible(archive: Path) -> None:
    assert archive.stat().st_size <= 2_700_000
    assert make().read_bytes() == archive.read_bytes()


def test_package_contents(package: Path) -> None:
    found = {path.name for path in package.iterdir()}
    licences = {name for name in found if name.endswith(".dist-info")}
    assert found - licences == {
        *(
            "LICENSE",
            "core",
            "aws_lambda",
            "boto3",
            "botocore",
            "dateutil",
            "jmespath",
            "jwt",
            "s3transfer",
            "six.py",
            "urllib3",
            "__pycache__",
        )
    }
    assert {name.partition("-")[0] for name in licences} == {
        *("boto3", "botocore", "jmespath", "pyjwt", "python_dateutil", "s3transfer", "six", "urllib3")
    }
    for name in licences:
        assert any(re.match("LICEN[CS]E", path.name) for path in (package / name).rglob("*")), name
    assert {path.name for path in (package / "aws_lambda").glob("*")} == {
        *(path.name for path in (ROOT / "aws_lambda").glob("*.py") if path.name not in ("deployment.py", "worker.py")),
        "__pycache__",
    }
    data = package / "botocore" / "data"
    assert {path.name for path in data.iterdir() if path.is_dir()} == {"dynamodb", "secretsmanager", "sqs"}
    for place in package.rglob("*"):
        assert not place.is_symlink()
        # Nothing from the build machine.
        assert str(ROOT).encode() not in (place.read_bytes() if place.is_file() else b"")


def test_bytecode_in_the_package_is_used_whatever_the_source_times(package: Path) -> None:
    flags = [path.read_bytes()[4:8] for path in package.rglob("*.pyc")]
    assert len(flags) == len(list(package.rglob("*.py")))
    assert set(flags) == {b"\x01\0\0\0"}  # PEP 552: hash-based, not checked


@pytest.mark.long
@pytest.mark.parametrize("store", ["dynamodb", "sqs"])
def test_package_alone_stores_events_cold_and_warm(
    package: Path, runtime: Path, moto: MotoServer, tmp_path: Path, store: str
) -> None:
    # Reading a source instead of its bytecode ends the process.
    for source in package.rglob("*.py"):
        source.chmod(0o644)
        source.write_text("raise SystemError\n")
    before = sorted(str(path) for path in package.rglob("*"))
    dynamodb, sqs = moto.client("dynamodb"), moto.client("sqs")
    table, queue = create_table(dynamodb, EVENTS_KEYS if store == "dynamodb" else SEEN_KEYS), create_queue(sqs)
    secret = moto.client("secretsmanager").create_secret(Name=f"of {tmp_path}", SecretString=SECRET)["ARN"]
    environ = {
        **moto.environment,
        "PYTHONPATH": os.pathsep.join((str(package), str(runtime))),
        "DT_STORE": store,
        "DT_TABLE": table,
        "DT_SEEN_TABLE": table,
        "DT_QUEUE_URL": queue,
        "DT_SIGNATURE_SECRET_ID": secret,
    }
    contents = [fresh_body() for _ in range(3)]
    with sandbox(environ, tmp_path, DOOR, root=package, python=PYTHON) as started:
        for content in contents:
            assert started.request("POST", "/", signed(content), content).headers["event-outcome"] == "stored"
            assert started.request("POST", "/", signed(content), content).headers["event-outcome"] == "duplicate"
        assert started.request("POST", "/", {}, contents[0]).status == 401
        for line in started.lines():
            assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "DataConnector"
    stored = items(dynamodb, table) if store == "dynamodb" else messages(sqs, queue)
    assert sorted(each["body"] for each in stored) == sorted(contents)
    assert sorted(str(path) for path in package.rglob("*")) == before


@pytest.mark.long
def test_package_with_es256_verifies_asymmetric_signatures(
    runtime: Path, moto: MotoServer, tmp_path: Path, archive: Path
) -> None:
    """Run on this machine's architecture; the package for the other one is only inspected."""
    machine = os.uname().machine
    own, other = ("x86_64", "arm64") if machine == "x86_64" else ("arm64", "x86_64")
    package = unpack(make("--es256", "--arch", own), tmp_path / "task")
    foreign = unpack(make("--es256", "--arch", other), tmp_path / "other")
    make()
    library = "cryptography/hazmat/bindings/_rust.abi3.so"
    # ELF's e_machine: x86-64 and AArch64.
    assert {(folder / library).read_bytes()[18:20] for folder in (package, foreign)} == {b"\x3e\0", b"\xb7\0"}
    environ = {
        **moto.environment,
        "PYTHONPATH": os.pathsep.join((str(package), str(runtime))),
        "DT_TABLE": create_table(moto.client("dynamodb"), EVENTS_KEYS),
        "DT_ORGANIZATION_ID": ORGANIZATION,
        "DT_JWKS": JWKS,
    }
    content = fresh_body()
    with sandbox(environ, tmp_path, DOOR, root=package, python=PYTHON) as started:
        answer = started.request("POST", "/", {"DT-Asymmetric-Signature": es256(content)}, content)
    assert answer.headers["event-outcome"] == "stored"


def test_package_without_es256_is_503_and_says_what_to_install(
    package: Path, runtime: Path, moto: MotoServer, tmp_path: Path
) -> None:
    environ = {
        **moto.environment,
        "PYTHONPATH": os.pathsep.join((str(package), str(runtime))),
        "DT_TABLE": "events",
        "DT_ORGANIZATION_ID": ORGANIZATION,
        "DT_JWKS": JWKS,
    }
    with sandbox(environ, tmp_path, DOOR, root=package, python=PYTHON) as started:
        assert started.request("POST", "/", {}, b"{}").status == 503
        assert "cryptography" in json.dumps(started.lines())
