"""What the tests of the template have in common."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.moto import MotoServer, moto_server
from tests.support.sam import EMPTY_ZIP, MISSING, TEMPLATE, TOOLS_ARE_THERE, TRANSLATE, run


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template as CloudFormation gets it, after SAM."""
    if not TOOLS_ARE_THERE:
        pytest.skip(MISSING)
    found = run("python", "-c", TRANSLATE, folder=tmp_path_factory.mktemp("sam"), given=TEMPLATE.read_text())
    assert found.returncode == 0, found
    result: dict[str, Any] = json.loads(found.stdout)
    return result


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoServer]:
    """moto_server, in the place of AWS."""
    with moto_server() as server:
        server.client("s3").create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        server.client("s3").put_object(Bucket="code", Key="aws_lambda.zip", Body=EMPTY_ZIP)
        yield server
