"""The stack that moto's CloudFormation makes of the translated template, and what its roles may do by moto's IAM.

moto_server stands in for CloudFormation, IAM, DynamoDB, SQS, Secrets Manager and CloudWatch. What it passes over or
gets wrong is named where it matters, and never relied on.
"""

import ast
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.iam.access_control import IAMPolicy, PermissionResult

from tests.support.moto import MotoServer
from tests.support.sam import (
    METRICS,
    MOTO_PASSES_OVER,
    VARIANTS,
    WITH_PIPE,
    Chosen,
)


class Stack:
    """A stack that moto made of the template, without the types that it passes over.

    What is put right for moto, which AWS does not need: references to the secret become the ARN of one that is made
    here; a FIFO queue gets a name; conditions and parameters are decided here, because moto leaves a null where
    AWS::NoValue is in a list.
    """

    def __init__(self, aws: MotoServer, template: dict[str, Any], variant: str) -> None:
        self.aws = aws
        self.name = variant.replace(" ", "-") + os.urandom(3).hex()
        chosen = Chosen(template, VARIANTS[variant])
        secret = aws.client("secretsmanager").create_secret(Name=self.name, SecretString="s" * 64)
        self.secret_arn = secret["ARN"]
        self.expected = {
            name: it["Type"] for name, it in chosen.resources.items() if it["Type"] not in MOTO_PASSES_OVER
        }
        resources = {name: it for name, it in chosen.resources.items() if name in self.expected}
        self.template = resources
        for name, it in resources.items():
            it.pop("Condition", None)
            if it["Type"] == "AWS::SQS::Queue" and it["Properties"].get("FifoQueue"):
                it["Properties"]["QueueName"] = f"{self.name}-{name}.fifo"
        text = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
        text = text.replace('{"Ref": "SignatureSecret"}', json.dumps(self.secret_arn))
        aws.client("cloudformation").create_stack(
            StackName=self.name, TemplateBody=text, Capabilities=["CAPABILITY_IAM"]
        )
        found = aws.client("cloudformation").describe_stack_resources(StackName=self.name)["StackResources"]
        self.made = {it["LogicalResourceId"]: it.get("PhysicalResourceId", "") for it in found}
        self.types = {it["LogicalResourceId"]: it["ResourceType"] for it in found}
        self._put_policies_again()

    def _put_policies_again(self) -> None:
        """Mend what moto's CloudFormation left: Python's text of the document, at which its IAM ends in a 500."""
        iam = self.aws.client("iam")
        for name, kind in self.types.items():
            if kind == "AWS::IAM::Role":
                role = self.made[name]
                for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                    found = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
                    document = json.dumps(ast.literal_eval(found))
                    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=document)

    def document(self, role: str) -> dict[str, Any]:
        """Return a role's policy, as it was made."""
        (name,) = self.aws.client("iam").list_role_policies(RoleName=self.made[role])["PolicyNames"]
        found = self.aws.client("iam").get_role_policy(RoleName=self.made[role], PolicyName=name)
        document: dict[str, Any] = found["PolicyDocument"]
        return document

    def permits(self, role: str, action: str, resource: str) -> bool:
        """Evaluate a role's policy by moto's own evaluator, which its server asks for SQS alone."""
        policy = IAMPolicy({"policy_document": json.dumps(self.document(role))})
        return policy.is_action_permitted(action, resource) == PermissionResult.PERMITTED

    def session(self, role: str) -> dict[str, str]:
        """Return credentials of one of the stack's roles, for use with IAM enforced.

        moto looks at the resource for SQS only: with every other service it takes `*` for what is asked for, and
        refuses what an ARN permits. So these see their statements with `*`: what is tested there is the actions.
        """
        iam = self.aws.client("iam")
        document = self.document(role)
        for statement in document["Statement"]:
            if not str(statement["Action"]).startswith("sqs:"):
                statement["Resource"] = "*"
        name = f"{role}-{os.urandom(4).hex()}"
        trust = {"Version": "2012-10-17", "Statement": []}
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        iam.put_role_policy(RoleName=name, PolicyName="same", PolicyDocument=json.dumps(document))
        credentials: dict[str, str] = self.aws.client("sts").assume_role(RoleArn=made["Arn"], RoleSessionName="test")[
            "Credentials"
        ]
        return credentials


@pytest.fixture(scope="module")
def stacks(aws: MotoServer, translated: dict[str, Any]) -> dict[str, Stack]:
    return {variant: Stack(aws, translated, variant) for variant in VARIANTS}


def test_moto_still_passes_over_what_is_said_of_it(aws: MotoServer, translated: dict[str, Any]) -> None:
    """Given the whole template it reports success. What it left out is seen in its log only."""
    resources = {
        name: it | {"Condition": None} for name, it in Chosen(translated, WITH_PIPE).resources.items()
    }  # as AWS would get it, apart from the conditions
    for it in resources.values():
        del it["Condition"]
    aws.client("cloudformation").create_stack(
        StackName="whole", TemplateBody=json.dumps({"Resources": resources}), Capabilities=["CAPABILITY_IAM"]
    )
    (stack,) = aws.client("cloudformation").describe_stacks(StackName="whole")["Stacks"]

    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert set(re.findall(r"No Moto CloudFormation support for (\S+)", aws.log)) == MOTO_PASSES_OVER


@pytest.mark.parametrize("variant", VARIANTS)
def test_moto_made_each_resource(stacks: dict[str, Stack], variant: str) -> None:
    stack, aws = stacks[variant], stacks[variant].aws

    assert stack.types == stack.expected
    for name, kind in stack.types.items():
        made = stack.made[name]
        match kind:
            case "AWS::DynamoDB::Table":
                table = aws.client("dynamodb").describe_table(TableName=made)["Table"]
                assert table["TableStatus"] == "ACTIVE"
                assert table["DeletionProtectionEnabled"] is True
                assert ("LatestStreamArn" in table) == (name == "Events")
            case "AWS::SQS::Queue":
                url = aws.client("sqs").get_queue_url(QueueName=made.rpartition("/")[2])["QueueUrl"]
                attributes = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
                assert attributes["MessageRetentionPeriod"] == str(14 * 86400)
                assert (attributes.get("FifoQueue") == "true") == (variant == "fifo")
                assert ("RedrivePolicy" in attributes) == (name == "EventQueue")
            case "AWS::Lambda::Permission":
                policy = json.loads(aws.client("lambda").get_policy(FunctionName=stack.made["Receiver"])["Policy"])
                asked = stack.template[name]["Properties"]
                (statement,) = [it for it in policy["Statement"] if it["Action"] == asked["Action"]]
                # AWS shows these as a Condition, moto by the names of the request.
                for key in ("Principal", "FunctionUrlAuthType", "InvokedViaFunctionUrl"):
                    assert statement.get(key) == asked.get(key)
            case "AWS::Lambda::Function":
                function = aws.client("lambda").get_function_configuration(FunctionName=made)
                assert (function["Handler"], function["Timeout"]) == ("aws_lambda.handler.handler", 9)
                variables = function["Environment"]["Variables"]
                assert variables["DT_SIGNATURE_SECRET_ID"] == stack.secret_arn
                if "Events" in stack.made:
                    assert variables["DT_TABLE"] == stack.made["Events"]
                else:
                    assert variables["DT_SEEN_TABLE"] == stack.made["SeenKeys"]
                    assert variables["DT_QUEUE_URL"].rpartition("/")[2] == stack.made["EventQueue"].rpartition("/")[2]
            case "AWS::IAM::Role":
                aws.client("iam").get_role(RoleName=made)
            case "AWS::Logs::LogGroup":
                (group,) = aws.client("logs").describe_log_groups(logGroupNamePrefix=made)["logGroups"]
                assert int(group["retentionInDays"]) == 30
            case "AWS::CloudWatch::Dashboard":
                aws.client("cloudwatch").get_dashboard(DashboardName=made)
            case _:
                raise AssertionError(f"nobody looked at {name}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_dashboard_is_json_and_shows_what_is_there(stacks: dict[str, Stack], variant: str) -> None:
    stack = stacks[variant]
    body = stack.aws.client("cloudwatch").get_dashboard(DashboardName=stack.made["Dashboard"])["DashboardBody"]
    widgets = {it["properties"]["title"]: it["properties"]["metrics"] for it in json.loads(body)["widgets"]}

    function = stack.made["Receiver"]
    assert {it[1] for it in widgets["Events"]} == METRICS
    assert {it[3] for it in widgets["Events"]} == {function}
    assert [(it[1], it[-1]["stat"]) for it in widgets["Time to answer"]] == [
        ("UrlRequestLatency", "p50"),
        ("UrlRequestLatency", "p99"),
    ]
    assert {it[1] for it in widgets["Failed requests"]} == {"Url5xxCount", "Errors", "Throttles"}
    assert {it[3] for it in widgets["Table"]} == {stack.made.get("Events") or stack.made.get("SeenKeys")}
    assert "${" not in body
    queues = {it.rpartition("/")[2] for name, it in stack.made.items() if stack.types[name] == "AWS::SQS::Queue"}
    shown = {it[3] for title in ("Queue", "Dead letters") for it in widgets.get(title, [])}
    assert shown == queues


def refused(call: Any, **arguments: Any) -> bool:
    """Make a call; return whether IAM refused it. Any other error is the test's own.

    moto's refusal is XML whatever the service speaks, so that botocore finds no error code in it: the text has to do.
    """
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403 and "is not authorized to perform" in str(error):
            return True
        raise
    return False


@pytest.fixture
def enforced(aws: MotoServer) -> Iterator[MotoServer]:
    """moto, which a test tells to enforce IAM once everything is there."""
    try:
        yield aws
    finally:
        aws.enforce_iam(False)


def url_of(aws: MotoServer, name: str) -> str:
    url: str = aws.client("sqs").get_queue_url(QueueName=name.rpartition("/")[2])["QueueUrl"]
    return url


@pytest.mark.parametrize("variant", ["table", "table and pipe"])
def test_iam_with_a_table(stacks: dict[str, Stack], enforced: MotoServer, variant: str) -> None:
    stack = stacks[variant]
    session = stack.session("ReceiverRole")
    table = stack.made["Events"]
    other = enforced.client("sqs").create_queue(QueueName="other")["QueueUrl"]
    key = {"device": {"S": "d"}, "timestampKey": {"S": "t"}}
    enforced.enforce_iam()
    dynamodb = enforced.client("dynamodb", session)
    secrets = enforced.client("secretsmanager", session)
    sqs = enforced.client("sqs", session)

    dynamodb.put_item(TableName=table, Item=key, ConditionExpression="attribute_not_exists(device)")
    assert secrets.get_secret_value(SecretId=stack.secret_arn)["SecretString"] == "s" * 64

    assert refused(dynamodb.get_item, TableName=table, Key=key)
    assert refused(dynamodb.delete_item, TableName=table, Key=key)
    assert refused(dynamodb.scan, TableName=table)
    assert refused(dynamodb.delete_table, TableName=table)
    assert refused(secrets.put_secret_value, SecretId=stack.secret_arn, SecretString="mine")
    assert refused(sqs.send_message, QueueUrl=other, MessageBody="{}")


@pytest.mark.parametrize("variant", ["queue", "fifo"])
def test_iam_with_a_queue(stacks: dict[str, Stack], enforced: MotoServer, variant: str) -> None:
    stack = stacks[variant]
    session = stack.session("ReceiverRole")
    table, queue = stack.made["SeenKeys"], url_of(enforced, stack.made["EventQueue"])
    dead_letters = url_of(enforced, stack.made["EventDeadLetters"])
    other = enforced.client("sqs").create_queue(QueueName="other")["QueueUrl"]
    group = {"MessageGroupId": "d", "MessageDeduplicationId": "k"} if variant == "fifo" else {}
    key = {"key": {"S": "k"}}
    enforced.enforce_iam()
    dynamodb = enforced.client("dynamodb", session)
    secrets = enforced.client("secretsmanager", session)
    sqs = enforced.client("sqs", session)

    dynamodb.put_item(TableName=table, Item=key)
    assert dynamodb.get_item(TableName=table, Key=key)["Item"] == key
    sqs.send_message(QueueUrl=queue, MessageBody="{}", **group)
    assert secrets.get_secret_value(SecretId=stack.secret_arn)["SecretString"] == "s" * 64

    assert refused(dynamodb.delete_item, TableName=table, Key=key)
    assert refused(dynamodb.scan, TableName=table)
    assert refused(sqs.receive_message, QueueUrl=queue)
    assert refused(sqs.purge_queue, QueueUrl=queue)
    assert refused(sqs.send_message, QueueUrl=dead_letters, MessageBody="{}", **group)
    assert refused(sqs.send_message, QueueUrl=other, MessageBody="{}")


def test_iam_of_the_pipe(stacks: dict[str, Stack], enforced: MotoServer) -> None:
    stack = stacks["table and pipe"]
    session = stack.session("EventPipeRole")
    names = ("EventQueue", "PipeDeadLetters", "EventDeadLetters")
    queue, pipe_letters, dead_letters = (url_of(enforced, stack.made[name]) for name in names)
    enforced.enforce_iam()
    sqs, dynamodb = enforced.client("sqs", session), enforced.client("dynamodb", session)

    sqs.send_message(QueueUrl=queue, MessageBody="{}")
    sqs.send_message(QueueUrl=pipe_letters, MessageBody="{}")

    assert refused(sqs.send_message, QueueUrl=dead_letters, MessageBody="{}")
    assert refused(sqs.receive_message, QueueUrl=queue)
    assert refused(dynamodb.scan, TableName=stack.made["Events"])
    assert refused(dynamodb.put_item, TableName=stack.made["Events"], Item={"device": {"S": "d"}})


TABLE_ARN = "arn:aws:dynamodb:eu-north-1:123456789012:table/"


@pytest.mark.parametrize(("variant", "table"), [("table", "Events"), ("queue", "SeenKeys"), ("fifo", "SeenKeys")])
def test_iam_knows_the_table_and_the_secret_from_others(stacks: dict[str, Stack], variant: str, table: str) -> None:
    """The made policy, evaluated without the server: its resources, which the server does not look at."""
    stack = stacks[variant]
    own = TABLE_ARN + stack.made[table]

    assert stack.permits("ReceiverRole", "dynamodb:PutItem", own)
    assert stack.permits("ReceiverRole", "secretsmanager:GetSecretValue", stack.secret_arn)
    for action, resource in (
        ("dynamodb:PutItem", TABLE_ARN + "another"),
        ("dynamodb:PutItem", own + "2"),
        ("dynamodb:DeleteItem", own),
        ("dynamodb:Scan", own),
        ("secretsmanager:GetSecretValue", stack.secret_arn.rpartition(":")[0] + ":another-abcdef"),
        ("secretsmanager:PutSecretValue", stack.secret_arn),
        ("logs:PutLogEvents", "arn:aws:logs:eu-north-1:123456789012:log-group:another:*"),
    ):
        assert not stack.permits("ReceiverRole", action, resource), (action, resource)
