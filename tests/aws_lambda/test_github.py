"""github.yaml, deployed to moto_server."""

import re

from tests.support.moto import ACCOUNT, MotoServer
from tests.support.sam import ROOT

GITHUB, SUBJECT = "token.actions.githubusercontent.com", "repo:me/mine:environment:aws"
TEMPLATE = (ROOT / "aws_lambda" / "github.yaml").read_text()


def test_workflow_of_one_repository_may_be_the_role(moto: MotoServer) -> None:
    stacks, iam = moto.client("cloudformation"), moto.client("iam")
    stacks.create_stack(
        StackName="a-stack",
        TemplateBody=TEMPLATE,
        Parameters=[{"ParameterKey": "Subject", "ParameterValue": SUBJECT}],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = stacks.describe_stacks(StackName="a-stack")["Stacks"]
    (output,) = stack["Outputs"]
    role = output["OutputValue"].rpartition("/")[2]
    (statement,) = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{GITHUB}"}
    assert statement["Condition"] == {"StringEquals": {f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": SUBJECT}}
    own = re.findall(r"role/(\S*)\*", TEMPLATE)
    assert own == ["dt-receiver-ReceiverRole-", "dt-receiver-EventPipeRole-"]
    assert not role.startswith(tuple(own)), "it may not change itself"
