"""template.yaml, checked by SAM's tools, and as SAM translates it for CloudFormation."""

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
    IN_TABLE,
    MISSING,
    RESOURCES,
    TEMPLATE,
    TOOLS_ARE_THERE,
    TRANSLATE,
    VARIANTS,
    WITH_PIPE,
    Chosen,
    arn,
    needs_tools,
    run,
    statements,
    unknown_permissions,
)
from tests.support.source import strings


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template as CloudFormation gets it, after SAM."""
    if not TOOLS_ARE_THERE:
        pytest.skip(MISSING)
    found = run("python", "-c", TRANSLATE, folder=tmp_path_factory.mktemp("sam"), given=TEMPLATE.read_text())
    assert found.returncode == 0, found
    result: dict[str, Any] = json.loads(found.stdout)
    return result


# ---- AWS's own tools -------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the template and, at the package's path, a zip that stands in for it."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "aws_lambda").mkdir()
    shutil.copy(TEMPLATE, tmp_path / "aws_lambda")
    with zipfile.ZipFile(tmp_path / "dist" / "aws_lambda.zip", "w") as package:
        package.writestr("aws_lambda/handler.py", "def handler(event, context):\n    return {'statusCode': 500}\n")
        package.writestr("requirements.txt", "a-package-that-nobody-may-install\n")
    return tmp_path


@needs_tools
def test_cfn_lint_passes(tmp_path: Path) -> None:
    # I3011 wants a deletion policy for the log and the secret; the default deletes them with the stack.
    found = run("cfn-lint", "--include-checks", "I", "--ignore-checks", "I3011", "--", str(TEMPLATE), folder=tmp_path)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@needs_tools
def test_sam_validates_the_template(checkout: Path) -> None:
    found = run("sam", "validate", "--lint", "--template", "template.yaml", folder=checkout / "aws_lambda")

    assert "is a valid SAM Template" in found.stdout, found
    assert found.returncode == 0


@needs_tools
def test_sam_build_and_package_keep_the_zip(checkout: Path, moto: MotoServer) -> None:
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
    moto.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    packaged = run("sam", "package", "--s3-bucket", bucket, folder=folder, **moto.environment)
    assert packaged.returncode == 0, packaged
    objects = moto.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    uploaded = [moto.client("s3").get_object(Bucket=bucket, Key=it["Key"])["Body"].read() for it in objects]
    assert package in uploaded


# ---- what the template says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_logical_ids_of_resources(translated: dict[str, Any], variant: str) -> None:
    """A changed id makes CloudFormation create another resource, and delete or abandon the one in use."""
    chosen = Chosen(translated, VARIANTS[variant])
    with_email = Chosen(translated, VARIANTS[variant] | {"AlarmEmail": "somebody@example.com"})

    assert {name: it["Type"] for name, it in chosen.resources.items()} == RESOURCES[variant]
    assert set(with_email.resources) - set(chosen.resources) == {"AlarmTopic"}


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
def test_invalid_combinations_of_parameters_are_refused(
    translated: dict[str, Any], parameters: dict[str, str], rule: set[str]
) -> None:
    """Evaluated here: moto's CloudFormation knows no Rules."""
    assert Chosen(translated, parameters).violated() == rule


def test_function_and_log_retention(translated: dict[str, Any]) -> None:
    chosen = Chosen(translated, IN_TABLE)
    function = chosen.properties("Receiver")

    assert (function["Handler"], function["Runtime"]) == ("aws_lambda.handler.handler", "python3.13")
    assert 8 < function["Timeout"] < 10, "after the receiver's own deadline, before DT hangs up"
    assert function["Role"] == arn("ReceiverRole")
    assert function["LoggingConfig"]["LogGroup"] == {"Ref": "ReceiverLogs"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert chosen.properties("ReceiverLogs")["RetentionInDays"] == "30"


@pytest.mark.parametrize(("reserved", "expected"), [("20", "20"), ("1", "1"), ("0", None)])
def test_reserved_concurrency_of_zero_means_none(
    translated: dict[str, Any], reserved: str, expected: str | None
) -> None:
    """A value of 0 in CloudFormation would switch the function off."""
    function = Chosen(translated, {"ReservedConcurrency": reserved}).properties("Receiver")

    assert function.get("ReservedConcurrentExecutions") == expected


def test_public_access_is_to_the_url_and_not_to_the_function(translated: dict[str, Any]) -> None:
    """Both are needed since October 2025. Without InvokedViaFunctionUrl any AWS account could invoke the function."""
    chosen = Chosen(translated, IN_TABLE)

    assert chosen.properties("ReceiverUrl") == {"AuthType": "NONE", "TargetFunctionArn": {"Ref": "Receiver"}}
    for permission in chosen.of_type("AWS::Lambda::Permission").values():
        assert (permission.pop("FunctionName"), permission.pop("Principal")) == ({"Ref": "Receiver"}, "*")
    permissions = sorted(chosen.of_type("AWS::Lambda::Permission").values(), key=str)
    assert permissions == [
        {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
        {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
    ]


OPTIONS = {
    **dict.fromkeys(("DT_ORGANIZATION_ID", "DT_EVENT_TYPES", "DT_PROJECT_ID"), ""),
    "DT_KEEP_DAYS": "365",
    "DT_SIGNATURE_POLICY": "any",
    "DT_ACCEPT_EXPIRED_FOR": "0",
    "DT_SIGNATURE_SECRET_ID": {"Ref": "SignatureSecret"},
}
OF_QUEUE = {"DT_STORE": "sqs", "DT_QUEUE_URL": {"Ref": "EventQueue"}, "DT_SEEN_TABLE": {"Ref": "SeenKeys"}}


@pytest.mark.parametrize("variant", VARIANTS)
def test_environment_names_the_store_and_the_secret(translated: dict[str, Any], variant: str) -> None:
    function = Chosen(translated, VARIANTS[variant]).properties("Receiver")
    of_table = {"DT_STORE": "dynamodb", "DT_TABLE": {"Ref": "Events"}}

    expected = of_table if VARIANTS[variant]["Store"] == "dynamodb" else OF_QUEUE
    assert function["Environment"]["Variables"] == OPTIONS | expected


def test_environment_is_what_the_code_reads(translated: dict[str, Any]) -> None:
    """And the code asks for no adapter's setting that the template does not set."""
    sets = set(translated["Resources"]["Receiver"]["Properties"]["Environment"]["Variables"])
    core, adapter = (strings("DT_[A-Z0-9_]+", f"{folder}/*.py") for folder in ("core", "aws_lambda"))

    assert adapter - core <= sets <= core | adapter


LOGS = {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": arn("ReceiverLogs")}
SECRET = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": {"Ref": "SignatureSecret"}}
PUT = {"Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": arn("Events")}
SEE = {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PutItem"], "Resource": arn("SeenKeys")}
SEND = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn("EventQueue")}


STREAM = [f"dynamodb:{it}" for it in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")]
OF_PIPE = [
    {"Effect": "Allow", "Action": STREAM, "Resource": arn("Events", "StreamArn")},
    {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": [arn("EventQueue"), arn("PipeDeadLetters")]},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_permissions_of_the_roles(translated: dict[str, Any], variant: str, tmp_path: Path) -> None:
    roles = Chosen(translated, VARIANTS[variant]).of_type("AWS::IAM::Role")
    store = [PUT] if VARIANTS[variant]["Store"] == "dynamodb" else [SEE, SEND]

    expected = {"ReceiverRole": [LOGS, SECRET, *store]} | ({"EventPipeRole": OF_PIPE} if "pipe" in variant else {})
    assert {name: statements(role) for name, role in roles.items()} == expected
    for name, role in roles.items():
        assert set(role) == {"AssumeRolePolicyDocument", "Policies"}, "no managed policy beside it"
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        service = "lambda" if name == "ReceiverRole" else "pipes"
        assert (trust["Principal"], trust["Action"]) == ({"Service": f"{service}.amazonaws.com"}, "sts:AssumeRole")
        of_account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
        assert trust.get("Condition") == (None if service == "lambda" else of_account)
        # AWS has these actions.
        assert unknown_permissions([it | {"Resource": "*"} for it in statements(role)], tmp_path) == set()


def test_tables_and_queues_are_retained_when_the_stack_is_deleted(translated: dict[str, Any]) -> None:
    retained = {"Events", "SeenKeys", "EventQueue", "EventDeadLetters"}

    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        kept = {name for name, it in translated["Resources"].items() if it.get(policy) == "Retain"}
        assert kept == retained, policy
    assert all(Chosen(translated, it).of_type("AWS::DynamoDB::Table") for it in VARIANTS.values())


@pytest.mark.parametrize(
    ("variant", "name", "keys"), [("table", "Events", ["device", "timestampKey"]), ("queue", "SeenKeys", ["key"])]
)
def test_tables_are_protected_and_have_backups(
    translated: dict[str, Any], variant: str, name: str, keys: list[str]
) -> None:
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
def test_queues_have_encryption_and_a_retention_of_14_days(translated: dict[str, Any], variant: str) -> None:
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


def test_secret_is_generated_as_a_plain_string(translated: dict[str, Any]) -> None:
    """Without SecretStringTemplate the whole value is the secret."""
    secret = Chosen(translated, {}).properties("SignatureSecret")

    assert secret["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
    assert "resolve:secretsmanager" not in json.dumps(translated), "no value of the secret anywhere"


# ---- the pipe --------------------------------------------------------------------------------------------------------


def test_pipe_retry_ends_before_stream_retention(translated: dict[str, Any]) -> None:
    pipe = Chosen(translated, WITH_PIPE).properties("EventPipe")
    source = pipe["SourceParameters"]["DynamoDBStreamParameters"]

    assert (pipe["Source"], pipe["Target"]) == (arn("Events", "StreamArn"), arn("EventQueue"))
    assert 0 < source["MaximumRecordAgeInSeconds"] < 24 * 3600
    assert (source["StartingPosition"], source["MaximumRetryAttempts"]) == ("TRIM_HORIZON", 100)
    assert source["OnPartialBatchItemFailure"] == "AUTOMATIC_BISECT"
    assert source["DeadLetterConfig"] == {"Arn": arn("PipeDeadLetters")}
    filters = [json.loads(it["Pattern"]) for it in pipe["SourceParameters"]["FilterCriteria"]["Filters"]]
    assert filters == [{"eventName": ["INSERT"]}], "an event that expires is a REMOVE, and no new event"


FIELDS = ("key", "eventId", "eventType", "deviceId", "projectId", "timestamp", "receivedAt", "signedBy")


def test_message_of_the_pipe(translated: dict[str, Any]) -> None:
    """A variable becomes the JSON of what its path leads to."""
    template = Chosen(translated, WITH_PIPE).properties("EventPipe")["TargetParameters"]["InputTemplate"]

    assert len(template) <= 8192
    assert json.loads(re.sub(r"<(\$\.[A-Za-z.]+)>", r'"\1"', template)) == {
        **{name: f"$.dynamodb.NewImage.{name}.S" for name in FIELDS},
        "bodyBase64": "$.dynamodb.NewImage.body.B",
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_source_names_the_table_or_the_queue(translated: dict[str, Any], variant: str) -> None:
    chosen = Chosen(translated, VARIANTS[variant])
    condition, *values = translated["Outputs"]["Source"]["Value"]["Fn::If"]
    source = rendered(values[0 if chosen.holds({"Condition": condition}) else 1])
    assert source == ("dynamodb:Events" if chosen.parameters["Store"] == "dynamodb" else "sqs:EventQueue")
    assert source.partition(":")[2] in chosen.resources


# ---- alarms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_alarms_name_existing_metrics_and_resources(translated: dict[str, Any], variant: str) -> None:
    chosen = Chosen(translated, VARIANTS[variant] | {"AlarmEmail": "somebody@example.com"})
    alarms = chosen.of_type("AWS::CloudWatch::Alarm")

    assert alarms.keys() == {name for name, kind in RESOURCES[variant].items() if kind == "AWS::CloudWatch::Alarm"}
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}], name
        for metric in [it["MetricStat"]["Metric"] for it in alarm.get("Metrics", []) if "MetricStat" in it] or [alarm]:
            (dimension,) = metric["Dimensions"]
            (target,) = dimension["Value"].values()
            owner = chosen.resources[target if isinstance(target, str) else target[0]]["Type"]
            assert dimension["Name"] == f"{owner.rpartition('::')[2]}Name", name


def test_only_the_silence_alarm_treats_missing_data_as_breaching(translated: dict[str, Any]) -> None:
    chosen = Chosen(translated, WITH_PIPE | {"SilenceMinutes": "90"})
    alarm, alarms = chosen.properties("SilenceAlarm"), chosen.of_type("AWS::CloudWatch::Alarm")

    assert (alarm["MetricName"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Stored", "LessThanThreshold", 1)
    assert alarm["Period"] * int(alarm["EvaluationPeriods"]) == 90 * 60
    assert alarm["Period"] * translated["Parameters"]["SilenceMinutes"]["MaxValue"] <= 86400
    assert {name for name, it in alarms.items() if it["TreatMissingData"] == "breaching"} == {"SilenceAlarm"}
    assert all("AlarmActions" not in it for it in alarms.values()), "no topic without an address"


def rendered(value: Any) -> str:
    """Return the text of a Fn::Sub, with the logical id of a resource for its name."""
    if isinstance(value, dict) and "Fn::Sub" in value:
        body, given = value["Fn::Sub"] if isinstance(value["Fn::Sub"], list) else (value["Fn::Sub"], {})
        return re.sub(r"\$\{([\w:]+)[^}]*\}", lambda it: rendered(given[it[1]]) if it[1] in given else it[1], body)
    target = next(iter(value.values())) if isinstance(value, dict) else value
    return target if isinstance(target, str) else str(target[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_dashboard_names_existing_metrics_and_resources(translated: dict[str, Any], variant: str) -> None:
    chosen = Chosen(translated, VARIANTS[variant])
    widgets = json.loads(rendered(chosen.properties("Dashboard")["DashboardBody"]))["widgets"]
    shown = {metric[3] for it in widgets for metric in it["properties"]["metrics"]}
    assert shown <= chosen.resources.keys()
    assert shown >= {"Receiver", *chosen.of_type("AWS::DynamoDB::Table")}
