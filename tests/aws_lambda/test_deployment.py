"""A deployed function is found by its stack or its own name, and its secret is rotated under load."""

import json
from collections import Counter
from pathlib import Path

import pytest

from cli.deployment import find_deployment
from deployed.contract import Place
from readers import ReaderError
from tests.aws_lambda.deployments import aws, create_function
from tests.contract.test_deployments import rotate
from tests.support.deliveries import SECRET
from tests.support.delivering import SENDERS, delivering
from tests.support.moto import MotoServer

# moto has no function without a package, so something else has that name in the stack.
STACK = {
    "Resources": {
        "Receiver": {
            "Type": "AWS::SSM::Parameter",
            "Properties": {"Name": "of-a-stack", "Type": "String", "Value": "x"},
        }
    }
}


@pytest.fixture
def account(moto: MotoServer, monkeypatch: pytest.MonkeyPatch) -> MotoServer:
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    return moto


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"DT_TABLE": "events"}, "dynamodb:events"),
        ({"DT_STORE": "sqs", "DT_QUEUE_URL": "https://sqs/1/events"}, "sqs:https://sqs/1/events"),
    ],
    ids=["dynamodb", "sqs"],
)
def test_function_of_a_stack_is_found(settings: dict[str, str], source: str, account: MotoServer) -> None:
    stacks, functions = account.client("cloudformation"), account.client("lambda")
    stacks.create_stack(StackName="a-stack", TemplateBody=json.dumps(STACK))
    create_function(account, "of-a-stack", settings | {"DT_SIGNATURE_SECRET_ID": "its-secret"})
    try:
        found = find_deployment("aws", Place(name="a-stack"))
        assert found.url == functions.get_function_url_config(FunctionName="of-a-stack")["FunctionUrl"]
        assert found.source == source
        assert "--secret-id its-secret " in found.secret_command
    finally:
        functions.delete_function(FunctionName="of-a-stack")
        account.client("iam").delete_role(RoleName="of-a-stack")
        stacks.delete_stack(StackName="a-stack")


def test_missing_function_is_named(account: MotoServer) -> None:
    with pytest.raises(ReaderError, match="Cannot find the stack or function elsewhere"):
        find_deployment("aws", Place(name="elsewhere"))


@pytest.mark.long
def test_rotation_refuses_no_delivery_that_a_secret_signed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with aws(SECRET, tmp_path, request) as deployed:

        def rotated(*options: str) -> None:
            # Longer than a sandbox waits between two looks at the secret, here a second at most.
            result = rotate(deployed, "--watch", "3", *options)
            assert result.exit_code == 0, result.output

        with delivering(deployed.url, SECRET) as answers:
            rotated()
        only_stored(answers)
        new, _ = json.loads(deployed.text())
        with delivering(deployed.url, new) as answers:
            rotated("--finish", "--now")
        only_stored(answers)
        assert deployed.text() == new


def only_stored(answers: Counter[int]) -> None:
    assert set(answers) == {200}, answers
    assert answers.total() > SENDERS
