"""The Lambda function, deployed to moto: two sandboxes run it, and Secrets Manager has its secret."""

import io
import itertools
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.deployed import Deployed, Factory
from tests.support.aws import EVENTS_KEYS, create_table
from tests.support.front_doors import AWS_FRONT_DOORS
from tests.support.fronts import front
from tests.support.moto import MotoServer
from tests.support.processes import ROOT, Answer
from tests.support.sandbox import IMPATIENT, sandbox

SANDBOXES = 2


@contextmanager
def aws(secret: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    """A function of that name, as Terraform makes it."""
    moto: MotoServer = request.getfixturevalue("moto")
    for name, value in moto.environment.items():
        request.getfixturevalue("monkeypatch").setenv(name, value)
    function = f"r{os.urandom(8).hex()}"
    there = moto.client("secretsmanager")
    secret_id = there.create_secret(Name=function, SecretString=secret)["ARN"]
    settings = {"DT_SIGNATURE_SECRET_ID": secret_id, "DT_TABLE": create_table(moto.client("dynamodb"), EVENTS_KEYS)}
    create_function(moto, function, settings)
    # Impatient: the secret is asked for again after half a second, not after a minute.
    (folder / "sitecustomize.py").write_text(IMPATIENT.format(max_age=1))
    environ = {**moto.environment, **settings, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    with ExitStack() as stack:
        door = AWS_FRONT_DOORS["Function URL"]
        running = itertools.cycle([stack.enter_context(sandbox(environ, folder, door)) for _ in range(SANDBOXES)])

        def pass_on(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
            return next(running).request(method, path, headers, body)

        yield Deployed(
            arguments=["aws", function],
            url=stack.enter_context(front(pass_on)),
            text=lambda: str(there.get_secret_value(SecretId=secret_id)["SecretString"]),
            put=lambda text: there.put_secret_value(SecretId=secret_id, SecretString=text),
            settings=settings,
        )


def create_function(moto: MotoServer, name: str, settings: Mapping[str, str]) -> None:
    """Create a function with a URL; moto does not run it."""
    role = moto.client("iam").create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []})
    )["Role"]["Arn"]
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("handler.py", "")
    functions: Any = moto.client("lambda")
    functions.create_function(
        FunctionName=name,
        Role=role,
        Runtime="python3.13",
        Handler="handler.handler",
        Code={"ZipFile": package.getvalue()},
        Environment={"Variables": dict(settings)},
    )
    functions.create_function_url_config(FunctionName=name, AuthType="NONE")


DEPLOYMENTS: dict[str, Factory] = {"aws": aws}
