"""template.yaml, checked by AWS's tools, and as SAM translates it for CloudFormation and resolves it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.moto import ACCOUNT
from tests.support.sam import TEMPLATE, Choose, Chosen, needs_tools, resolving, run, statements, unknown_permissions
from tests.support.source import strings

IN_TABLE = {"Store": "dynamodb"}
WITH_PIPE = {"Store": "dynamodb", "Queue": "yes"}
VARIANTS = {
    "table": IN_TABLE,
    "table and pipe": WITH_PIPE,
    "queue": {"Store": "sqs"},
    "fifo": {"Store": "sqs", "Fifo": "yes"},
}
EMAIL = {"AlarmEmail": "somebody@example.com"}

# Logical ids. With another id or type, CloudFormation creates another resource, and deletes or abandons the old one.
ALARM = "CloudWatch::Alarm"
ALWAYS = {
    "Lambda::Function": "Receiver",
    "Lambda::Url": "ReceiverUrl",
    "Lambda::Permission": "ReceiverUrlPublicPermissions ReceiverURLInvokeAllowPublicAccess",
    "IAM::Role": "ReceiverRole",
    "Logs::LogGroup": "ReceiverLogs",
    "SecretsManager::Secret": "SignatureSecret",
    "CloudWatch::Dashboard": "Dashboard",
    ALARM: "SilenceAlarm FailedAlarm ErrorsAlarm ThrottlesAlarm Url5xxAlarm",
}
QUEUE = {"SQS::Queue": "EventQueue EventDeadLetters", ALARM: "QueueAgeAlarm DeadLettersAlarm"}
PIPE = {
    "Pipes::Pipe": "EventPipe",
    "IAM::Role": "EventPipeRole",
    "SQS::Queue": "PipeDeadLetters",
    ALARM: "PipeAlarm PipeDeadLettersAlarm",
}
TABLES = {"dynamodb": {"DynamoDB::Table": "Events"}, "sqs": {"DynamoDB::Table": "SeenKeys"}}
PARTS = {"table": (), "table and pipe": (QUEUE, PIPE), "queue": (QUEUE,), "fifo": (QUEUE,)}


@pytest.fixture(scope="module")
def choose() -> Iterator[Choose]:
    with resolving() as choose:
        yield choose


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chosen(choose: Choose, variant: str) -> Chosen:
    return choose(VARIANTS[variant])


@needs_tools
def test_cfn_lint_passes(tmp_path: Path) -> None:
    # I3011 wants a deletion policy for the log and the secret; the default deletes them with the stack.
    options = ("--include-checks", "I", "--ignore-checks", "I3011", "--regions")
    regions = dict.fromkeys(("template.yaml", "github.yaml", "http-api.yaml"), "eu-north-1")
    for name, region in (*regions.items(), ("budget.yaml", "us-east-1")):
        found = run("cfn-lint", *options, region, "--", str(TEMPLATE.parent / name), folder=tmp_path)
        assert (found.returncode, found.stdout, found.stderr) == (0, "", ""), name


def test_logical_ids_of_resources(choose: Choose, chosen: Chosen, variant: str) -> None:
    parts = (ALWAYS, TABLES[VARIANTS[variant]["Store"]], *PARTS[variant])
    expected = {name: f"AWS::{kind}" for part in parts for kind, names in part.items() for name in names.split()}
    assert {name: it["Type"] for name, it in chosen.resources.items()} == expected
    assert choose(VARIANTS[variant] | EMAIL).resources.keys() - chosen.resources.keys() == {"AlarmTopic"}


@pytest.mark.parametrize(
    ("parameters", "rules"),
    [
        ({"Store": "sqs", "Queue": "yes"}, ["QueueIsForDynamodb"]),
        ({"Store": "dynamodb", "Fifo": "yes"}, ["FifoIsForSqs"]),
        ({"SignaturePolicy": "es256"}, ["Es256NeedsOrganization"]),
        ({"SignaturePolicy": "both"}, ["Es256NeedsOrganization"]),
        ({"SignaturePolicy": "both", "OrganizationId": "cvinmt9aq9sc738g6eog"}, []),
        *((parameters, []) for parameters in ({}, *VARIANTS.values())),
    ],
)
def test_invalid_combinations_of_parameters_are_refused(
    choose: Choose, parameters: dict[str, str], rules: list[str]
) -> None:
    assert choose(parameters).violated == rules


def test_function_answers_in_time_and_its_limit_is_optional(choose: Choose) -> None:
    function = choose(IN_TABLE).properties("Receiver")
    assert 8 < function["Timeout"] < 10, "after the receiver's own deadline, before DT hangs up"
    assert function["Role"] == "<ReceiverRole Arn>"
    assert function["LoggingConfig"]["LogGroup"] == "<ReceiverLogs>"
    # A value of 0 in CloudFormation would switch the function off.
    for reserved, expected in (("20", "20"), ("1", "1"), ("0", None)):
        function = choose({"ReservedConcurrency": reserved}).properties("Receiver")
        assert function.get("ReservedConcurrentExecutions") == expected


def test_public_access_is_to_the_url_and_not_to_the_function(choose: Choose) -> None:
    """Both are needed since October 2025. Without InvokedViaFunctionUrl any AWS account could invoke the function."""
    chosen = choose(IN_TABLE)
    assert chosen.properties("ReceiverUrl") == {"AuthType": "NONE", "TargetFunctionArn": "<Receiver>"}
    everybody = {"FunctionName": "<Receiver>", "Principal": "*"}
    assert sorted(chosen.of_type("AWS::Lambda::Permission").values(), key=str) == [
        {"Action": "lambda:InvokeFunction", **everybody, "InvokedViaFunctionUrl": True},
        {"Action": "lambda:InvokeFunctionUrl", **everybody, "FunctionUrlAuthType": "NONE"},
    ]


OPTIONS = {
    **dict.fromkeys(("DT_ORGANIZATION_ID", "DT_EVENT_TYPES", "DT_PROJECT_ID"), ""),
    "DT_KEEP_DAYS": "365",
    "DT_SIGNATURE_POLICY": "any",
    "DT_ACCEPT_EXPIRED_FOR": "0",
    "DT_SIGNATURE_SECRET_ID": "<SignatureSecret>",
}
OF_STORE = {
    "dynamodb": {"DT_STORE": "dynamodb", "DT_TABLE": "<Events>"},
    "sqs": {"DT_STORE": "sqs", "DT_QUEUE_URL": "<EventQueue>", "DT_SEEN_TABLE": "<SeenKeys>"},
}


def test_environment_names_the_store_and_the_secret(chosen: Chosen, variant: str) -> None:
    environment = chosen.properties("Receiver")["Environment"]["Variables"]
    assert environment == OPTIONS | OF_STORE[VARIANTS[variant]["Store"]]


def test_environment_is_what_the_code_reads() -> None:
    """And the code asks for no adapter's setting that the template does not set."""
    core, adapter = (strings("DT_[A-Z0-9_]+", f"{folder}/*.py") for folder in ("core", "aws_lambda"))
    assert adapter - core <= OPTIONS.keys() | OF_STORE["dynamodb"] | OF_STORE["sqs"].keys() <= core | adapter


def allow(action: str | list[str], resource: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


ROLES = {
    "always": [
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], "<ReceiverLogs Arn>"),
        allow("secretsmanager:GetSecretValue", "<SignatureSecret>"),
    ],
    "dynamodb": [allow("dynamodb:PutItem", "<Events Arn>")],
    "sqs": [
        allow(["dynamodb:GetItem", "dynamodb:PutItem"], "<SeenKeys Arn>"),
        allow("sqs:SendMessage", "<EventQueue Arn>"),
    ],
    "pipe": [
        allow(
            [f"dynamodb:{it}" for it in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")],
            "<Events StreamArn>",
        ),
        allow("sqs:SendMessage", ["<EventQueue Arn>", "<PipeDeadLetters Arn>"]),
    ],
}
OF_ACCOUNT = {"Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}}}


def test_permissions_of_the_roles(chosen: Chosen, variant: str, tmp_path: Path) -> None:
    roles = chosen.of_type("AWS::IAM::Role")
    expected = {"ReceiverRole": ROLES["always"] + ROLES[VARIANTS[variant]["Store"]]}
    assert {name: statements(role) for name, role in roles.items()} == expected | (
        {"EventPipeRole": ROLES["pipe"]} if "pipe" in variant else {}
    )
    for name, role in roles.items():
        assert role.keys() == {"AssumeRolePolicyDocument", "Policies"}, "no managed policy beside it"
        service, condition = ("lambda", {}) if name == "ReceiverRole" else ("pipes", OF_ACCOUNT)
        trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        assert role["AssumeRolePolicyDocument"]["Statement"] == [trust | condition]
        # AWS has these actions.
        assert unknown_permissions([it | {"Resource": "*"} for it in statements(role)], tmp_path) == set()


def test_tables_and_queues_are_retained_when_the_stack_is_deleted(chosen: Chosen) -> None:
    retained = {"Events", "SeenKeys", "EventQueue", "EventDeadLetters"} & chosen.resources.keys()
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        assert {name for name, it in chosen.resources.items() if it.get(policy) == "Retain"} == retained, policy


def test_tables_are_protected_and_have_backups(chosen: Chosen) -> None:
    ((name, table),) = chosen.of_type("AWS::DynamoDB::Table").items()
    keys = {"device": "HASH", "timestampKey": "RANGE"} if name == "Events" else {"key": "HASH"}
    assert table["KeySchema"] == [{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert (table["DeletionProtectionEnabled"], table["BillingMode"]) == (True, "PAY_PER_REQUEST")
    assert table.get("StreamSpecification") == ({"StreamViewType": "NEW_IMAGE"} if name == "Events" else None)


def test_queues_have_encryption_and_a_retention_of_14_days(chosen: Chosen, variant: str) -> None:
    for name, queue in chosen.of_type("AWS::SQS::Queue").items():
        assert (queue["MessageRetentionPeriod"], queue["SqsManagedSseEnabled"]) == (14 * 86400, True)
        assert queue.get("FifoQueue", False) is (variant == "fifo")
        if name == "EventQueue":
            assert queue["RedrivePolicy"] == {"deadLetterTargetArn": "<EventDeadLetters Arn>", "maxReceiveCount": 10}
            assert queue.get("ContentBasedDeduplication") is (False if variant == "fifo" else None)


def test_secret_is_generated_as_a_plain_string(chosen: Chosen) -> None:
    """Without SecretStringTemplate the whole value is the secret."""
    secret = chosen.properties("SignatureSecret")
    assert secret["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
    assert "resolve:secretsmanager" not in json.dumps(chosen.resources), "no value of the secret anywhere"


FIELDS = ("key", "eventId", "eventType", "deviceId", "projectId", "timestamp", "receivedAt", "signedBy")


def test_pipe_copies_new_events_and_gives_up_before_the_stream(choose: Choose) -> None:
    pipe = choose(WITH_PIPE).properties("EventPipe")
    source = pipe["SourceParameters"]["DynamoDBStreamParameters"]
    assert (pipe["Source"], pipe["Target"]) == ("<Events StreamArn>", "<EventQueue Arn>")
    assert 0 < source["MaximumRecordAgeInSeconds"] < 24 * 3600
    assert (source["StartingPosition"], source["OnPartialBatchItemFailure"]) == ("TRIM_HORIZON", "AUTOMATIC_BISECT")
    assert source["DeadLetterConfig"] == {"Arn": "<PipeDeadLetters Arn>"}
    filters = [json.loads(it["Pattern"]) for it in pipe["SourceParameters"]["FilterCriteria"]["Filters"]]
    assert filters == [{"eventName": ["INSERT"]}], "an event that expires is a REMOVE, and no new event"
    # A variable becomes the JSON of what its path leads to.
    template = pipe["TargetParameters"]["InputTemplate"]
    assert json.loads(re.sub(r"<(\$\.[A-Za-z.]+)>", r'"\1"', template)) == {
        **{name: f"$.dynamodb.NewImage.{name}.S" for name in FIELDS},
        "bodyBase64": "$.dynamodb.NewImage.body.B",
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_source_names_the_table_or_the_queue(choose: Choose, variant: str) -> None:
    chosen = choose(VARIANTS[variant])
    is_table = VARIANTS[variant].get("Store", "dynamodb") == "dynamodb"
    assert chosen.outputs["Source"] == ("dynamodb:<Events>" if is_table else "sqs:<EventQueue>")


def test_alarms_and_dashboard_name_existing_resources(choose: Choose, variant: str) -> None:
    """Only silence is an alarm where there is no data."""
    chosen = choose(VARIANTS[variant] | EMAIL)
    alarms = chosen.of_type("AWS::CloudWatch::Alarm")
    assert {name for name, it in alarms.items() if it["TreatMissingData"] == "breaching"} == {"SilenceAlarm"}
    silence = alarms["SilenceAlarm"]
    assert (silence["MetricName"], silence["ComparisonOperator"], silence["Threshold"]) == (
        "Stored",
        "LessThanThreshold",
        1,
    )
    assert all(it["AlarmActions"] == ["<AlarmTopic>"] for it in alarms.values())
    metrics = [
        it["MetricStat"]["Metric"] for alarm in alarms.values() for it in alarm.get("Metrics", []) if "MetricStat" in it
    ]
    for metric in [*metrics, *(it for it in alarms.values() if "Metrics" not in it)]:
        (dimension,) = metric["Dimensions"]
        owner = chosen.resources[dimension["Value"].strip("<>").split()[0]]["Type"]
        assert dimension["Name"] == f"{owner.rpartition('::')[2]}Name"
    widgets = json.loads(chosen.properties("Dashboard")["DashboardBody"])["widgets"]
    shown = {metric[3].strip("<>").split()[0] for it in widgets for metric in it["properties"]["metrics"]}
    assert {"Receiver", *chosen.of_type("AWS::DynamoDB::Table")} <= shown <= chosen.resources.keys()
