"""template.yaml, as SAM's own tools read it, and as SAM translates it.

samtranslator, which the service runs too, stands in for AWS's transform. What moto's CloudFormation can make of it is
in test_stack.py; what moto passes over or gets wrong is held to its exact text here.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.moto import MotoServer
from tests.support.sam import (
    ALWAYS,
    IN_TABLE,
    PIPE,
    QUEUE,
    RESOURCES,
    ROOT,
    TEMPLATE,
    VARIANTS,
    WITH_PIPE,
    Chosen,
    arn,
    needs_tools,
    run,
    statements,
)

# ---- AWS's own tools -------------------------------------------------------------------------------------------------


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
