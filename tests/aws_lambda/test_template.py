"""template.yaml: as SAM's own tools read it, as SAM translates it, and as much of it as moto's CloudFormation can make.

What stands in for AWS: samtranslator (AWS's own, which the service runs too) for the transform, and moto_server for
CloudFormation, IAM, DynamoDB, SQS, Secrets Manager and CloudWatch. What moto passes over or gets wrong is listed below,
by name; those parts are held to their exact text instead.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.iam.access_control import IAMPolicy, PermissionResult

from tests.support.moto import MotoServer, moto_server

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "aws_lambda" / "template.yaml"
TOOLS = Path(os.environ.get("DT_AWS_TOOLS") or ROOT / ".venv-aws" / "bin")
INSTALL = "make aws-tools"

MISSING = f"no sam and cfn-lint in {TOOLS}: {INSTALL}; or set DT_AWS_TOOLS to the folder that has them"
TOOLS_ARE_THERE = all((TOOLS / name).exists() for name in ("sam", "cfn-lint", "python"))

needs_tools = pytest.mark.skipif(not TOOLS_ARE_THERE, reason=MISSING)

# moto's CloudFormation says CREATE_COMPLETE for these and makes nothing. Its `Ref` of them is missing or "None".
MOTO_PASSES_OVER = {
    "AWS::CloudWatch::Alarm",
    "AWS::Lambda::Url",
    "AWS::Pipes::Pipe",
    "AWS::SecretsManager::Secret",
}

IN_TABLE = {"Store": "dynamodb"}
WITH_PIPE = {"Store": "dynamodb", "Queue": "yes"}
IN_QUEUE = {"Store": "sqs"}
IN_FIFO = {"Store": "sqs", "Fifo": "yes"}
VARIANTS = {"table": IN_TABLE, "table and pipe": WITH_PIPE, "queue": IN_QUEUE, "fifo": IN_FIFO}

ALWAYS = {
    "Receiver": "AWS::Lambda::Function",
    "ReceiverUrl": "AWS::Lambda::Url",
    "ReceiverUrlPublicPermissions": "AWS::Lambda::Permission",
    "ReceiverURLInvokeAllowPublicAccess": "AWS::Lambda::Permission",
    "ReceiverRole": "AWS::IAM::Role",
    "ReceiverLogs": "AWS::Logs::LogGroup",
    "SignatureSecret": "AWS::SecretsManager::Secret",
    "SilenceAlarm": "AWS::CloudWatch::Alarm",
    "FailedAlarm": "AWS::CloudWatch::Alarm",
    "ErrorsAlarm": "AWS::CloudWatch::Alarm",
    "ThrottlesAlarm": "AWS::CloudWatch::Alarm",
    "Url5xxAlarm": "AWS::CloudWatch::Alarm",
    "Dashboard": "AWS::CloudWatch::Dashboard",
}
QUEUE = {
    "EventQueue": "AWS::SQS::Queue",
    "EventDeadLetters": "AWS::SQS::Queue",
    "QueueAgeAlarm": "AWS::CloudWatch::Alarm",
    "DeadLettersAlarm": "AWS::CloudWatch::Alarm",
}
PIPE = {
    "EventPipe": "AWS::Pipes::Pipe",
    "EventPipeRole": "AWS::IAM::Role",
    "PipeDeadLetters": "AWS::SQS::Queue",
    "PipeAlarm": "AWS::CloudWatch::Alarm",
    "PipeDeadLettersAlarm": "AWS::CloudWatch::Alarm",
}
EVENTS = {"Events": "AWS::DynamoDB::Table"}
SEEN = {"SeenKeys": "AWS::DynamoDB::Table"}
RESOURCES = {
    "table": ALWAYS | EVENTS,
    "table and pipe": ALWAYS | EVENTS | QUEUE | PIPE,
    "queue": ALWAYS | SEEN | QUEUE,
    "fifo": ALWAYS | SEEN | QUEUE,
}

# What the receiver writes: the namespace's metrics, each with the dimension FunctionName.
METRICS = {"Stored", "Duplicate", "Dropped", "Refused", "Failed"}


# ---- reading the template --------------------------------------------------------------------------------------------


# Runs where SAM's own tools are. `sam deploy` would put the S3 address in, so we do. No managed policy is used.
TRANSLATE = """
import json, sys
from types import SimpleNamespace
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
template = yaml_parse(sys.stdin.read())
template["Resources"]["Receiver"]["Properties"]["CodeUri"] = "s3://code/aws_lambda.zip"
print(json.dumps(transform(template, {}, SimpleNamespace(load=dict))))
"""


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template as CloudFormation gets it, after SAM."""
    if not TOOLS_ARE_THERE:
        pytest.skip(MISSING)
    found = run("python", "-c", TRANSLATE, folder=tmp_path_factory.mktemp("sam"), given=TEMPLATE.read_text())
    assert found.returncode == 0, found
    result: dict[str, Any] = json.loads(found.stdout)
    return result


class Chosen:
    """The translated template for given parameters: conditions decided, parameters put in, references left."""

    def __init__(self, template: dict[str, Any], parameters: dict[str, str]) -> None:
        self.parameters = {name: str(it["Default"]) for name, it in template["Parameters"].items()} | parameters
        self._conditions = template["Conditions"]
        self._rules = template["Rules"]
        self.resources: dict[str, Any] = {
            name: self._put_in(resource)
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]})
        }
        self.outputs: dict[str, Any] = {
            name: self._put_in(output)
            for name, output in template["Outputs"].items()
            if "Condition" not in output or self.holds({"Condition": output["Condition"]})
        }

    def properties(self, name: str) -> Any:
        return self.resources[name]["Properties"]

    def of_type(self, kind: str) -> dict[str, Any]:
        return {name: it["Properties"] for name, it in self.resources.items() if it["Type"] == kind}

    def holds(self, test: Any) -> bool:
        ((function, value),) = test.items()
        match function:
            case "Condition":
                return self.holds(self._conditions[value])
            case "Fn::Equals":
                left, right = (self._put_in(one) for one in value)
                return str(left) == str(right)
            case "Fn::And":
                return all(self.holds(one) for one in value)
            case "Fn::Or":
                return any(self.holds(one) for one in value)
            case "Fn::Not":
                return not self.holds(value[0])
        raise AssertionError(f"a condition that the tests cannot read: {function}")

    def violated(self) -> set[str]:
        return {
            name
            for name, rule in self._rules.items()
            if self.holds(rule["RuleCondition"]) and not all(self.holds(one["Assert"]) for one in rule["Assertions"])
        }

    def _put_in(self, value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in (self._put_in(it) for it in value) if one is not NOTHING]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value:
            condition, yes, no = value["Fn::If"]
            return self._put_in(yes if self.holds({"Condition": condition}) else no)
        if set(value) == {"Ref"}:
            name = value["Ref"]
            return NOTHING if name == "AWS::NoValue" else self.parameters.get(name, value)
        put_in = {name: self._put_in(it) for name, it in value.items()}
        return {name: it for name, it in put_in.items() if it is not NOTHING}


NOTHING = object()


def arn(name: str, attribute: str = "Arn") -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, attribute]}


def statements(role: Any) -> list[Any]:
    return [one for policy in role["Policies"] for one in policy["PolicyDocument"]["Statement"]]


# ---- AWS's own tools -------------------------------------------------------------------------------------------------


def run(
    tool: str, *arguments: str, folder: Path, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{TOOLS}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "eu-north-1",
        **environment,
    }
    command = [str(TOOLS / tool), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environ, input=given, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the template and a package where it looks for one, but not this package: any zip will do."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "aws_lambda").mkdir()
    shutil.copy(TEMPLATE, tmp_path / "aws_lambda")
    with zipfile.ZipFile(tmp_path / "dist" / "aws_lambda.zip", "w") as package:
        package.writestr("aws_lambda/handler.py", "def handler(event, context):\n    return {'statusCode': 500}\n")
        package.writestr("requirements.txt", "a-package-that-nobody-may-install\n")
    return tmp_path


@needs_tools
def test_cfn_lint_has_nothing_to_say(tmp_path: Path) -> None:
    # I3011 wants a word on what becomes of the log and the secret, which goes with the stack, as is the default.
    found = run("cfn-lint", "--include-checks", "I", "--ignore-checks", "I3011", "--", str(TEMPLATE), folder=tmp_path)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@needs_tools
def test_sam_takes_the_template_for_valid(checkout: Path) -> None:
    found = run("sam", "validate", "--lint", "--template", "template.yaml", folder=checkout / "aws_lambda")

    assert "is a valid SAM Template" in found.stdout, found
    assert found.returncode == 0


@needs_tools
def test_neither_sam_build_nor_sam_package_changes_the_zip(checkout: Path, aws: MotoServer) -> None:
    """`sam deploy` uploads as `sam package` does. moto's S3 stands in for S3."""
    package = (checkout / "dist" / "aws_lambda.zip").read_bytes()
    folder = checkout / "aws_lambda"

    built = run("sam", "build", folder=folder)
    assert built.returncode == 0, built
    (address,) = re.findall("CodeUri: (.*)", (folder / ".aws-sam" / "build" / "template.yaml").read_text())
    named = folder / ".aws-sam" / "build" / address
    assert named.resolve() == (checkout / "dist" / "aws_lambda.zip").resolve()
    assert named.read_bytes() == package
    assert {path.name for path in (folder / ".aws-sam" / "build").iterdir()} == {"template.yaml"}

    bucket = f"sam-{os.urandom(4).hex()}"
    aws.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    packaged = run("sam", "package", "--s3-bucket", bucket, folder=folder, **aws.environment)
    assert packaged.returncode == 0, packaged
    objects = aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    uploaded = [aws.client("s3").get_object(Bucket=bucket, Key=it["Key"])["Body"].read() for it in objects]
    assert package in uploaded, f"{hashlib.sha256(package).hexdigest()} is not among what was uploaded"


# ---- what the template says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_resources_are_these_and_no_others(translated: dict[str, Any], variant: str) -> None:
    chosen = Chosen(translated, VARIANTS[variant])
    with_email = Chosen(translated, VARIANTS[variant] | {"AlarmEmail": "somebody@example.com"})

    assert {name: it["Type"] for name, it in chosen.resources.items()} == RESOURCES[variant]
    assert set(with_email.resources) - set(chosen.resources) == {"AlarmTopic"}


def test_conditions_of_the_resources(translated: dict[str, Any]) -> None:
    expected = dict.fromkeys(ALWAYS) | {"AlarmTopic": "HasAlarmEmail", "Events": "InTable"}
    expected |= {"SeenKeys": "InQueue"} | dict.fromkeys(QUEUE, "HasQueue") | dict.fromkeys(PIPE, "HasPipe")

    assert {name: it.get("Condition") for name, it in translated["Resources"].items()} == expected


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"Store": "sqs", "Queue": "yes"}, {"QueueIsForDynamodb"}),
        ({"Store": "dynamodb", "Fifo": "yes"}, {"FifoIsForSqs"}),
        ({"SignaturePolicy": "es256"}, {"Es256NeedsOrganization"}),
        ({"SignaturePolicy": "both"}, {"Es256NeedsOrganization"}),
        ({"SignaturePolicy": "both", "OrganizationId": "cvinmt9aq9sc738g6eog"}, set()),
        ({}, set()),
        *((parameters, set()) for parameters in VARIANTS.values()),
    ],
)
def test_combinations_that_make_no_sense_are_refused(
    translated: dict[str, Any], parameters: dict[str, str], rule: set[str]
) -> None:
    """Evaluated here: moto's CloudFormation knows no Rules."""
    assert Chosen(translated, parameters).violated() == rule


def test_every_parameter_is_described_and_has_a_default(translated: dict[str, Any]) -> None:
    """`sam deploy --guided` asks for each, and shows the default; the description is on the console's page."""
    for name, parameter in translated["Parameters"].items():
        assert len(parameter.get("Description", "")) > 30, name
        assert "Default" in parameter, name
    grouped = translated["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in grouped for name in group["Parameters"]) == sorted(translated["Parameters"])


def test_the_function(translated: dict[str, Any]) -> None:
    function = Chosen(translated, IN_TABLE).properties("Receiver")

    assert function["Handler"] == "aws_lambda.handler.handler"
    assert function["Runtime"] == "python3.13"
    assert (function["Architectures"], function["MemorySize"]) == (["arm64"], "256")
    assert 8 < function["Timeout"] < 10, "after the receiver's own deadline, before DT hangs up"
    assert function["Role"] == arn("ReceiverRole")
    assert "VpcConfig" not in function
    assert function["LoggingConfig"] == {
        "LogGroup": {"Ref": "ReceiverLogs"},
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "WARN",
    }


@pytest.mark.parametrize(("reserved", "expected"), [("20", "20"), ("1", "1"), ("0", None)])
def test_zero_reserves_no_concurrency(translated: dict[str, Any], reserved: str, expected: str | None) -> None:
    """A value of 0 in CloudFormation would switch the function off."""
    function = Chosen(translated, {"ReservedConcurrency": reserved}).properties("Receiver")

    assert function.get("ReservedConcurrentExecutions") == expected


def test_anybody_may_call_the_url_and_nobody_the_function(translated: dict[str, Any]) -> None:
    """Both are needed since October 2025. Without InvokedViaFunctionUrl any AWS account could invoke the function."""
    chosen = Chosen(translated, IN_TABLE)

    assert chosen.properties("ReceiverUrl") == {"AuthType": "NONE", "TargetFunctionArn": {"Ref": "Receiver"}}
    permissions = list(chosen.of_type("AWS::Lambda::Permission").values())
    assert sorted(permissions, key=lambda it: str(it["Action"])) == [
        {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": "Receiver"},
            "Principal": "*",
            "InvokedViaFunctionUrl": True,
        },
        {
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionName": {"Ref": "Receiver"},
            "Principal": "*",
            "FunctionUrlAuthType": "NONE",
        },
    ]


OPTIONS = {
    "DT_KEEP_DAYS": "365",
    "DT_ORGANIZATION_ID": "",
    "DT_SIGNATURE_POLICY": "any",
    "DT_ACCEPT_EXPIRED_FOR": "0",
    "DT_EVENT_TYPES": "",
    "DT_PROJECT_ID": "",
    "DT_SIGNATURE_SECRET_ID": {"Ref": "SignatureSecret"},
}
OF_QUEUE = {"DT_STORE": "sqs", "DT_QUEUE_URL": {"Ref": "EventQueue"}, "DT_SEEN_TABLE": {"Ref": "SeenKeys"}}


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("table", {"DT_STORE": "dynamodb", "DT_TABLE": {"Ref": "Events"}}),
        ("table and pipe", {"DT_STORE": "dynamodb", "DT_TABLE": {"Ref": "Events"}}),
        ("queue", OF_QUEUE),
        ("fifo", OF_QUEUE),
    ],
)
def test_environment_of_the_function(translated: dict[str, Any], variant: str, expected: dict[str, Any]) -> None:
    function = Chosen(translated, VARIANTS[variant]).properties("Receiver")

    assert function["Environment"]["Variables"] == OPTIONS | expected


def test_the_code_reads_what_the_template_sets(translated: dict[str, Any]) -> None:
    """And asks of the adapter's own settings for none that the template does not set."""
    sets = set(translated["Resources"]["Receiver"]["Properties"]["Environment"]["Variables"])

    assert sets <= names_in("core") | names_in("aws_lambda")
    assert names_in("aws_lambda") - names_in("core") <= sets


def names_in(folder: str) -> set[str]:
    """Return the DT_ variables that are named as strings in a folder's code."""
    return {
        node.value
        for path in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("DT_[A-Z0-9_]+", node.value)
    }


LOGS = {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": arn("ReceiverLogs")}
SECRET = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": {"Ref": "SignatureSecret"}}
PUT = {"Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": arn("Events")}
SEE = {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PutItem"], "Resource": arn("SeenKeys")}
SEND = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn("EventQueue")}


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("table", [LOGS, SECRET, PUT]),
        ("table and pipe", [LOGS, SECRET, PUT]),
        ("queue", [LOGS, SECRET, SEE, SEND]),
        ("fifo", [LOGS, SECRET, SEE, SEND]),
    ],
)
def test_the_function_may_do_this_and_nothing_else(
    translated: dict[str, Any], variant: str, expected: list[Any]
) -> None:
    role = Chosen(translated, VARIANTS[variant]).properties("ReceiverRole")

    assert statements(role) == expected
    assert set(role) == {"AssumeRolePolicyDocument", "Policies"}, "no managed policy beside it"
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}


def test_the_pipe_may_do_this_and_nothing_else(translated: dict[str, Any]) -> None:
    role = Chosen(translated, WITH_PIPE).properties("EventPipeRole")

    assert statements(role) == [
        {
            "Effect": "Allow",
            "Action": [
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
                "dynamodb:ListStreams",
            ],
            "Resource": arn("Events", "StreamArn"),
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": [arn("EventQueue"), arn("PipeDeadLetters")]},
    ]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "pipes.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_what_holds_acknowledged_events_outlives_the_stack(translated: dict[str, Any]) -> None:
    retained = {"Events", "SeenKeys", "EventQueue", "EventDeadLetters"}

    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        kept = {name for name, it in translated["Resources"].items() if it.get(policy) == "Retain"}
        assert kept == retained, policy
    assert all(Chosen(translated, it).of_type("AWS::DynamoDB::Table") for it in VARIANTS.values())


@pytest.mark.parametrize(
    ("variant", "name", "keys"), [("table", "Events", ["device", "timestampKey"]), ("queue", "SeenKeys", ["key"])]
)
def test_tables(translated: dict[str, Any], variant: str, name: str, keys: list[str]) -> None:
    table = Chosen(translated, VARIANTS[variant]).properties(name)

    assert [it["AttributeName"] for it in table["KeySchema"]] == keys
    assert {it["AttributeName"]: it["AttributeType"] for it in table["AttributeDefinitions"]} == dict.fromkeys(
        keys, "S"
    )
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["DeletionProtectionEnabled"] is True
    assert table.get("StreamSpecification") == ({"StreamViewType": "NEW_IMAGE"} if name == "Events" else None)


@pytest.mark.parametrize("variant", ["table and pipe", "queue", "fifo"])
def test_queues(translated: dict[str, Any], variant: str) -> None:
    chosen = Chosen(translated, VARIANTS[variant])
    fifo = {
        "FifoQueue": True,
        "ContentBasedDeduplication": False,
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
    }
    common = {"MaximumMessageSize": 1048576, "MessageRetentionPeriod": 14 * 86400, "SqsManagedSseEnabled": True}
    redrive = {"RedrivePolicy": {"deadLetterTargetArn": arn("EventDeadLetters"), "maxReceiveCount": 10}}

    assert chosen.properties("EventQueue") == common | redrive | (fifo if variant == "fifo" else {})
    assert chosen.properties("EventDeadLetters") == common | ({"FifoQueue": True} if variant == "fifo" else {})


def test_the_secret_is_made_by_aws_and_can_be_pasted(translated: dict[str, Any]) -> None:
    """A plain string, not a JSON object: without SecretStringTemplate the whole value is the secret."""
    secret = Chosen(translated, {}).properties("SignatureSecret")

    assert secret["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}


# ---- the pipe --------------------------------------------------------------------------------------------------------


def test_the_pipe_gives_up_before_the_stream_forgets(translated: dict[str, Any]) -> None:
    pipe = Chosen(translated, WITH_PIPE).properties("EventPipe")
    source = pipe["SourceParameters"]["DynamoDBStreamParameters"]

    assert (pipe["Source"], pipe["Target"]) == (arn("Events", "StreamArn"), arn("EventQueue"))
    assert 0 < source["MaximumRecordAgeInSeconds"] < 24 * 3600
    assert 0 < source["MaximumRetryAttempts"] <= 10_000
    assert source["StartingPosition"] == "TRIM_HORIZON"
    assert source["OnPartialBatchItemFailure"] == "AUTOMATIC_BISECT"
    assert source["DeadLetterConfig"] == {"Arn": arn("PipeDeadLetters")}
    filters = [json.loads(it["Pattern"]) for it in pipe["SourceParameters"]["FilterCriteria"]["Filters"]]
    assert filters == [{"eventName": ["INSERT"]}], "an event that expires is a REMOVE, and no new event"


def test_what_the_pipe_puts_into_the_queue(translated: dict[str, Any]) -> None:
    """Rendered here as AWS documents it: a variable becomes the JSON of what its path leads to."""
    image = {
        "device": {"S": "emucdd6ef2eu277bo8f52vg"},
        "timestampKey": {"S": "2024-05-29T10:34:03.970415Z#k"},
        "key": {"S": 'a "quoted" key'},
        "eventId": {"S": "cpbg96qngr7ai7ldarrg"},
        "eventType": {"S": "temperature"},
        "deviceId": {"S": "emucdd6ef2eu277bo8f52vg"},
        "projectId": {"S": "ccol8iuk9smqiha4e8l0"},
        "timestamp": {"S": "2024-05-29T10:34:03.970415Z"},
        "receivedAt": {"S": "2024-05-29T10:34:05Z"},
        "parsed": {"BOOL": True},
        "body": {"B": "eyJldmVudCI6e319"},
        "expiresAt": {"N": "1748514843"},
    }
    record = {"eventName": "INSERT", "dynamodb": {"NewImage": image}}
    template = Chosen(translated, WITH_PIPE).properties("EventPipe")["TargetParameters"]["InputTemplate"]

    def value(match: re.Match[str]) -> str:
        found: Any = record
        for name in match[1].split("."):
            found = found[name]
        return json.dumps(found)

    assert len(template) <= 8192
    assert json.loads(re.sub(r"<\$\.([A-Za-z.]+)>", value, template)) == {
        "key": 'a "quoted" key',
        "eventId": "cpbg96qngr7ai7ldarrg",
        "eventType": "temperature",
        "deviceId": "emucdd6ef2eu277bo8f52vg",
        "projectId": "ccol8iuk9smqiha4e8l0",
        "timestamp": "2024-05-29T10:34:03.970415Z",
        "receivedAt": "2024-05-29T10:34:05Z",
        "bodyBase64": "eyJldmVudCI6e319",
    }


# ---- alarms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_alarms_watch_what_is_there(translated: dict[str, Any], variant: str) -> None:
    chosen = Chosen(translated, VARIANTS[variant] | {"AlarmEmail": "somebody@example.com"})
    alarms = chosen.of_type("AWS::CloudWatch::Alarm")

    watched = {}
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}], name
        assert len(str(alarm["AlarmDescription"])) > 30, name
        metrics = [it["MetricStat"]["Metric"] for it in alarm.get("Metrics", []) if "MetricStat" in it] or [alarm]
        watched[name] = {f"{it['Namespace']} {it['MetricName']}" for it in metrics}
        for metric in metrics:
            (dimension,) = metric["Dimensions"]
            ((kind, target),) = dimension["Value"].items()
            owner = target if kind == "Ref" else target[0]
            assert owner in chosen.resources, name
            assert (
                dimension["Name"]
                == {
                    "AWS::Lambda::Function": "FunctionName",
                    "AWS::SQS::Queue": "QueueName",
                    "AWS::Pipes::Pipe": "PipeName",
                }[chosen.resources[owner]["Type"]]
            )
    pipe = {"Failed", "PartiallyFailed", "Throttled", "Timeout"}
    expected = {
        "SilenceAlarm": {"DataConnector Stored"},
        "FailedAlarm": {"DataConnector Failed"},
        "ErrorsAlarm": {"AWS/Lambda Errors"},
        "ThrottlesAlarm": {"AWS/Lambda Throttles"},
        "Url5xxAlarm": {"AWS/Lambda Url5xxCount"},
        "QueueAgeAlarm": {"AWS/SQS ApproximateAgeOfOldestMessage"},
        "DeadLettersAlarm": {"AWS/SQS ApproximateNumberOfMessagesVisible"},
        "PipeDeadLettersAlarm": {"AWS/SQS ApproximateNumberOfMessagesVisible"},
        "PipeAlarm": {f"AWS/EventBridge/Pipes Execution{it}" for it in pipe},
    }
    assert watched == {name: it for name, it in expected.items() if name in RESOURCES[variant]}


def test_silence_is_an_alarm_for_as_long_as_cloudwatch_can_look_back(translated: dict[str, Any]) -> None:
    alarm = Chosen(translated, {"SilenceMinutes": "90"}).properties("SilenceAlarm")

    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "LessThanThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["Period"] * int(alarm["EvaluationPeriods"]) == 90 * 60
    assert "DatapointsToAlarm" not in alarm, "one period with an event ends it"
    assert alarm["Period"] * translated["Parameters"]["SilenceMinutes"]["MaxValue"] <= 86400


def test_no_other_alarm_goes_off_when_nothing_happens(translated: dict[str, Any]) -> None:
    alarms = Chosen(translated, WITH_PIPE).of_type("AWS::CloudWatch::Alarm")

    quiet = {name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "notBreaching"}
    assert quiet == set(alarms) - {"SilenceAlarm"}
    assert all("AlarmActions" not in alarm for alarm in alarms.values()), "no topic without an address"


# ---- made for real, by moto ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoServer]:
    """moto_server, in the place of AWS."""
    with moto_server() as server:
        server.client("s3").create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        server.client("s3").put_object(Bucket="code", Key="aws_lambda.zip", Body=EMPTY_ZIP)
        yield server


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)


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


def test_moto_still_passes_over_what_this_file_says_it_does(aws: MotoServer, translated: dict[str, Any]) -> None:
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
