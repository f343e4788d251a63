"""aws_lambda/deploy.sh: SAM itself deploys to moto_server, up to the change set, which moto cannot make of a bucket's
path.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.moto import MotoServer
from tests.support.sam import EMPTY_ZIP, ROOT, TOOLS, needs_tools

pytestmark = [pytest.mark.long, needs_tools]

GUIDED = """version = 0.1
[default.deploy.parameters]
stack_name = "mine"
template = "template.yaml"
s3_bucket = "sam-bucket"
confirm_changeset = false
capabilities = "CAPABILITY_IAM"
parameter_overrides = "KeepDays=\\"7\\""
"""


@pytest.fixture
def folder(tmp_path: Path, moto: MotoServer) -> Path:
    """A checkout, with a bucket of ours in the place of SAM's, which needs another stack."""
    buckets = [it["Name"] for it in moto.client("s3").list_buckets()["Buckets"]]
    if "sam-bucket" not in buckets:
        constraint = {"LocationConstraint": "eu-north-1"}
        moto.client("s3").create_bucket(Bucket="sam-bucket", CreateBucketConfiguration=constraint)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "aws_lambda.zip").write_bytes(EMPTY_ZIP)
    shutil.copy(ROOT / "Makefile", tmp_path)
    folder = shutil.copytree(ROOT / "aws_lambda", tmp_path / "aws_lambda")
    (folder / "samconfig.toml").unlink(missing_ok=True)
    defaults = folder / "samconfig.defaults.toml"
    assert "resolve_s3 = true" in defaults.read_text()
    defaults.write_text(defaults.read_text().replace("resolve_s3 = true", 's3_bucket = "sam-bucket"'))
    return folder


def deploy(folder: Path, moto: MotoServer, *arguments: str, **environ: str) -> str:
    """Return what SAM says that it deploys."""
    done = subprocess.run(
        ["make", "--assume-old", "package-aws", "deploy-aws", *arguments],
        cwd=folder.parent,
        env={
            "PATH": f"{TOOLS}:/usr/bin:/bin",
            "HOME": str(folder.parent),
            "LANG": "C.UTF-8",
            "SAM_CLI_TELEMETRY": "0",
            **moto.environment,
            **environ,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "NoSuchBucket) when calling the CreateChangeSet operation" in done.stderr, done
    return " ".join(done.stdout.split())


def test_everything_has_a_default(folder: Path, moto: MotoServer) -> None:
    said = deploy(folder, moto)
    for one in ("Stack name : dt-receiver", "Confirm changeset : True", "Parameter overrides : {}", "CAPABILITY_IAM"):
        assert one in said
    assert "Confirm changeset : False" in deploy(folder, moto, CI="true")
    # The package is uploaded as it is.
    objects = [it["Key"] for it in moto.client("s3").list_objects_v2(Bucket="sam-bucket")["Contents"]]
    uploaded = [moto.client("s3").get_object(Bucket="sam-bucket", Key=key)["Body"].read() for key in objects]
    assert EMPTY_ZIP in uploaded


def test_parameters_and_tags_are_given_once(folder: Path, moto: MotoServer) -> None:
    (folder / "samconfig.toml").write_text(GUIDED)
    assert 'Parameter overrides : {"KeepDays": "7"}' in deploy(folder, moto)
    given = ("PARAMETERS=KeepDays=30 AlarmEmail=me@example.com", "TAGS=team=facilities cost=1")
    said = deploy(folder, moto, *given)
    assert 'Parameter overrides : {"KeepDays": "30", "AlarmEmail": "me@example.com"}' in said
    # SAM leaves the rest, and these later, to the stack; tags it has to be told each time.
    assert "Parameter overrides : {}" in deploy(folder, moto)
    lines = GUIDED.splitlines()[:-1]
    tagged = [*lines[:2], "tags = 'team=facilities cost=1'", *lines[2:]]
    assert (folder / "samconfig.toml").read_text().splitlines() == tagged
    deploy(folder, moto, "TAGS=team=other")
    assert "tags = 'team=other'" in (folder / "samconfig.toml").read_text()
    assert (folder / "samconfig.toml").read_text().count("tags") == 1
