"""terraform/: Terraform itself and the AWS provider itself, applied to moto_server, which stands in for AWS.

moto makes every resource that is here. What it answers otherwise than AWS would is named where it matters.
"""

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws import REGION
from tests.support.moto import ACCOUNT, MotoServer, moto_server

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "aws_lambda" / "terraform"
TERRAFORM = shutil.which("terraform")
# Where Terraform itself looks for a mirror of providers.
MIRRORS = [
    *([Path(os.environ["DT_TF_PLUGINS"])] if os.environ.get("DT_TF_PLUGINS") else []),
    Path.home() / ".terraform.d" / "plugins",
    Path("/usr/local/share/terraform/plugins"),
    Path("/usr/share/terraform/plugins"),
]
MIRROR = next((path for path in MIRRORS if any(path.glob("*/hashicorp/aws/*"))), None)

pytestmark = [
    pytest.mark.skipif(TERRAFORM is None, reason="no terraform on PATH: install Terraform 1.11 or newer"),
    pytest.mark.skipif(
        MIRROR is None,
        reason="no mirror of the AWS provider: terraform -chdir=aws_lambda/terraform providers mirror FOLDER, "
        "and set DT_TF_PLUGINS to FOLDER",
    ),
]

ARN = f"arn:aws:%s:{REGION}:{ACCOUNT}:"
DYNAMODB, SQS, LOGS = (ARN % service for service in ("dynamodb", "sqs", "logs"))
ALARMS = {"silence", "failed", "errors", "throttles", "url-5xx"}


class Applied:
    """A copy of the folder, with a package where it looks for one; not the real package: any zip will do."""

    def __init__(self, folder: Path, aws: MotoServer, name: str, **variables: str) -> None:
        self.aws = aws
        self.name = name
        self.planned: dict[str, Any] = {}
        self._variables = [f"-var={key}={value}" for key, value in {"name": name, **variables}.items()]
        self.folder = folder / "aws_lambda" / "terraform"
        shutil.copytree(SOURCE, self.folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        (folder / "dist").mkdir()
        self.package = folder / "dist" / "aws_lambda.zip"
        with zipfile.ZipFile(self.package, "w") as package:
            package.writestr("aws_lambda/handler.py", "def handler(event, context):\n    return {'statusCode': 500}\n")
        settings = folder / "terraform.rc"
        settings.write_text(
            f"provider_installation {{\n  filesystem_mirror {{\n    path = {json.dumps(str(MIRROR))}\n  }}\n}}\n"
        )
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_CONFIG_FILE": str(settings),
            **aws.environment,
        }

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(TERRAFORM), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, text=True, check=False, timeout=280
        )

    def must(self, *arguments: str) -> str:
        found = self.run(*arguments)
        assert found.returncode == 0, f"{arguments}\n{found.stdout[-3000:]}\n{found.stderr[-6000:]}"
        return found.stdout

    def init(self) -> "Applied":
        self.must("init", "-no-color", "-input=false")
        return self

    def apply(self) -> "Applied":
        self.init().must("plan", "-no-color", "-input=false", "-out=plan", *self._variables)
        resources = json.loads(self.must("show", "-json", "plan"))["planned_values"]["root_module"]["resources"]
        self.planned = {it["address"]: it["values"] for it in resources}
        self.must("apply", "-no-color", "-input=false", "plan")
        return self

    def plan(self, *variables: str) -> "subprocess.CompletedProcess[str]":
        return self.run("plan", "-no-color", "-input=false", "-refresh=false", *self._variables, *variables)

    def destroy(self) -> "subprocess.CompletedProcess[str]":
        return self.run("destroy", "-no-color", "-input=false", "-auto-approve", *self._variables)

    @property
    def outputs(self) -> dict[str, Any]:
        return {name: it["value"] for name, it in json.loads(self.must("output", "-json")).items()}

    @property
    def resources(self) -> set[str]:
        return set(self.must("state", "list").split("\n")) - {""}

    def policy(self, role_prefix: str, policy: str) -> list[Any]:
        iam = self.aws.client("iam")
        (role,) = [
            it["RoleName"]
            for it in iam.list_roles()["Roles"]
            if re.fullmatch(re.escape(role_prefix) + "[0-9]+", it["RoleName"])
        ]
        assert iam.list_role_policies(RoleName=role)["PolicyNames"] == [policy]
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        statements: list[Any] = document["Statement"]
        return statements

    def queue(self, name: str) -> dict[str, str]:
        sqs = self.aws.client("sqs")
        url = sqs.get_queue_url(QueueName=f"{self.name}-{name}")["QueueUrl"]
        attributes: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return attributes


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoServer]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="module")
def applied(aws: MotoServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Applied]:
    """Both stores, side by side: most of the time the provider waits, 25 s for each queue."""
    piped = Applied(tmp_path_factory.mktemp("tf"), aws, "piped", queue="true", alarm_email="somebody@example.com")
    queued = Applied(tmp_path_factory.mktemp("tf"), aws, "queued", store="sqs", fifo="true", reserved_concurrency="0")
    with ThreadPoolExecutor() as both:
        return {it.name: it for it in both.map(Applied.apply, [piped, queued])}


@pytest.fixture
def piped(applied: dict[str, Applied]) -> Applied:
    """Store dynamodb, with a pipe into a queue and an address for alarms."""
    return applied["piped"]


@pytest.fixture
def queued(applied: dict[str, Applied]) -> Applied:
    """Store sqs, FIFO."""
    return applied["queued"]


def test_format() -> None:
    assert TERRAFORM is not None
    environ = {"PATH": os.environ["PATH"], "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    found = subprocess.run(
        [TERRAFORM, "fmt", "-check", "-diff", str(SOURCE)], env=environ, capture_output=True, text=True, check=False
    )

    assert (found.returncode, found.stdout) == (0, "")


def test_validate(piped: Applied) -> None:
    assert "The configuration is valid" in piped.must("validate", "-no-color")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (["-var=store=sqs", "-var=queue=true"], "there is none: take queue = false"),
        (["-var=store=dynamodb", "-var=fifo=true"], "fifo = true needs store"),
        (["-var=signature_policy=both"], "es256 and both need organization_id"),
        (["-var=silence_minutes=1441"], "From 1 to 1440"),
        (["-var=store=redis"], "dynamodb or sqs"),
    ],
)
def test_variables_that_make_no_sense_are_refused(queued: Applied, variables: list[str], complaint: str) -> None:
    found = queued.plan("-var=fifo=false", *variables)

    assert found.returncode == 1
    assert complaint in " ".join(found.stderr.replace("│", " ").split()), found.stderr


def test_it_offers_what_the_template_offers() -> None:
    template = (ROOT / "aws_lambda" / "template.yaml").read_text()
    parameters = template[template.index("\nParameters:") : template.index("\nRules:")]
    outputs = template[template.index("\nOutputs:") :]

    def snake(text: str) -> set[str]:
        names = re.findall(r"^  ([A-Z]\w+):$", text, re.MULTILINE)
        return {re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in names}

    def declared(kind: str, file: str) -> set[str]:
        return set(re.findall(rf'^{kind} "(\w+)"', (SOURCE / file).read_text(), re.MULTILINE))

    assert declared("variable", "variables.tf") - {"name", "package", "max_message_size"} == snake(parameters)
    assert declared("output", "outputs.tf") == snake(outputs)


RECEIVER = {
    "aws_cloudformation_stack.url_permission",
    "aws_cloudwatch_dashboard.receiver",
    "aws_cloudwatch_log_group.receiver",
    "aws_cloudwatch_metric_alarm.silence",
    *(f'aws_cloudwatch_metric_alarm.more_than["{name}"]' for name in ("failed", "errors", "throttles", "url-5xx")),
    *(f'aws_cloudwatch_metric_alarm.more_than["{name}"]' for name in ("queue-age", "dead-letters")),
    "aws_iam_role.receiver",
    "aws_iam_role_policy.receiver",
    "aws_lambda_function.receiver",
    "aws_lambda_function_url.receiver",
    "aws_lambda_permission.url",
    "aws_secretsmanager_secret.signature",
    "aws_secretsmanager_secret_version.signature",
    "aws_sqs_queue.dead_letters[0]",
    "aws_sqs_queue.events[0]",
}
PIPE = {
    "aws_cloudwatch_metric_alarm.pipe[0]",
    'aws_cloudwatch_metric_alarm.more_than["pipe-dead-letters"]',
    "aws_dynamodb_table.events[0]",
    "aws_iam_role.pipe[0]",
    "aws_iam_role_policy.pipe[0]",
    "aws_pipes_pipe.events[0]",
    "aws_sns_topic.alarms[0]",
    "aws_sns_topic_subscription.alarms[0]",
    "aws_sqs_queue.pipe_dead_letters[0]",
}


def test_resources_are_these_and_no_others(piped: Applied, queued: Applied) -> None:
    def managed(applied: Applied) -> set[str]:
        return {name for name in applied.resources if not name.startswith(("data.", "ephemeral."))}

    assert managed(piped) == RECEIVER | PIPE
    assert managed(queued) == RECEIVER | {"aws_dynamodb_table.seen_keys[0]"}


def test_function(piped: Applied, queued: Applied) -> None:
    for applied in (piped, queued):
        client = applied.aws.client("lambda")
        function = client.get_function_configuration(FunctionName=applied.name)
        assert function["Handler"] == "aws_lambda.handler.handler"
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
        assert (function["Timeout"], function["MemorySize"]) == (9, 256)
        assert function["CodeSize"] == applied.package.stat().st_size
        # moto takes no logging configuration: this is what Terraform meant to ask for.
        assert applied.planned["aws_lambda_function.receiver"]["logging_config"] == [
            {
                "log_group": f"/aws/lambda/{applied.name}",
                "log_format": "JSON",
                "application_log_level": "INFO",
                "system_log_level": "WARN",
            }
        ]
        (group,) = applied.aws.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{applied.name}")[
            "logGroups"
        ]
        assert group["retentionInDays"] == 30
    client = piped.aws.client("lambda")
    assert client.get_function_concurrency(FunctionName="piped")["ReservedConcurrentExecutions"] == 20
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="queued")


def test_environment(piped: Applied, queued: Applied) -> None:
    expected = {
        "DT_KEEP_DAYS": "365",
        "DT_ORGANIZATION_ID": "",
        "DT_SIGNATURE_POLICY": "any",
        "DT_ACCEPT_EXPIRED_FOR": "0",
        "DT_EVENT_TYPES": "",
        "DT_PROJECT_ID": "",
    }
    for applied, more in (
        (piped, {"DT_STORE": "dynamodb", "DT_TABLE": "piped-events"}),
        (
            queued,
            {
                "DT_STORE": "sqs",
                "DT_QUEUE_URL": queued.outputs["queue_url"],
                "DT_SEEN_TABLE": "queued-seen-keys",
            },
        ),
    ):
        function = applied.aws.client("lambda").get_function_configuration(FunctionName=applied.name)
        secret = {"DT_SIGNATURE_SECRET_ID": applied.outputs["secret"]}
        assert function["Environment"]["Variables"] == expected | more | secret


def test_anybody_may_call_the_url_and_nobody_the_function(piped: Applied) -> None:
    """moto shows what was asked for by the names of the request, where AWS shows it as a Condition."""
    client = piped.aws.client("lambda")
    url = client.get_function_url_config(FunctionName="piped")
    assert (url["AuthType"], url["FunctionUrl"]) == ("NONE", piped.outputs["url"])

    statements = json.loads(client.get_policy(FunctionName="piped")["Policy"])["Statement"]
    of_url = {it["Sid"]: it["FunctionUrlAuthType"] for it in statements if it["Action"] == "lambda:InvokeFunctionUrl"}
    assert of_url == {"PublicUrl": "NONE", "FunctionURLAllowPublicAccess": "NONE"}, (
        "the provider adds the second itself"
    )
    (of_function,) = [it for it in statements if it["Action"] != "lambda:InvokeFunctionUrl"]
    assert (of_function["Action"], of_function["Principal"]) == ("lambda:InvokeFunction", "*")
    assert of_function["InvokedViaFunctionUrl"] is True

    template = piped.aws.client("cloudformation").get_template(StackName="piped-url-permission")["TemplateBody"]
    assert template["Resources"] == {
        "PublicInvoke": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": client.get_function_configuration(FunctionName="piped")["FunctionArn"],
                "Action": "lambda:InvokeFunction",
                "Principal": "*",
                "InvokedViaFunctionUrl": True,
            },
        }
    }


def test_roles_may_do_this_and_nothing_else(piped: Applied, queued: Applied) -> None:
    def common(applied: Applied) -> list[Any]:
        return [
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": f"{LOGS}log-group:/aws/lambda/{applied.name}:*",
            },
            {"Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": applied.outputs["secret"]},
        ]

    assert piped.policy("piped-", "receiver") == [
        *common(piped),
        {"Effect": "Allow", "Action": ["dynamodb:PutItem"], "Resource": f"{DYNAMODB}table/piped-events"},
    ]
    assert queued.policy("queued-", "receiver") == [
        *common(queued),
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem"],
            "Resource": f"{DYNAMODB}table/queued-seen-keys",
        },
        {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": f"{SQS}queued-events.fifo"},
    ]
    read, send = piped.policy("piped-pipe-", "pipe")
    assert set(read["Action"]) == {
        f"dynamodb:{it}" for it in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
    }
    assert read["Resource"].startswith(f"{DYNAMODB}table/piped-events/stream/")
    assert send == {
        "Effect": "Allow",
        "Action": ["sqs:SendMessage"],
        "Resource": [f"{SQS}piped-events", f"{SQS}piped-pipe-dead-letters"],
    }


def test_the_secret_is_in_aws_and_not_in_the_state(piped: Applied) -> None:
    secret = piped.aws.client("secretsmanager").get_secret_value(SecretId=piped.outputs["secret"])["SecretString"]

    assert re.fullmatch("[0-9A-Za-z]{64}", secret)
    files = [path.read_text() for path in piped.folder.glob("*.tfstate*")]
    assert files
    assert not any(secret in content for content in files)


@pytest.mark.parametrize(
    ("name", "keys"), [("piped-events", ["device", "timestampKey"]), ("queued-seen-keys", ["key"])]
)
def test_tables(piped: Applied, queued: Applied, name: str, keys: list[str]) -> None:
    dynamodb = piped.aws.client("dynamodb")
    table = dynamodb.describe_table(TableName=name)["Table"]

    assert [it["AttributeName"] for it in table["KeySchema"]] == keys
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] is True
    ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert (ttl["AttributeName"], ttl["TimeToLiveStatus"]) == ("expiresAt", "ENABLED")
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    assert table.get("StreamSpecification") == (stream if name == "piped-events" else None)


def test_queues(piped: Applied, queued: Applied) -> None:
    for applied, suffix in ((piped, ""), (queued, ".fifo")):
        events, dead = applied.queue(f"events{suffix}"), applied.queue(f"dead-letters{suffix}")
        for queue in (events, dead):
            assert (queue["MessageRetentionPeriod"], queue["MaximumMessageSize"]) == (str(14 * 86400), "262144")
            assert queue["SqsManagedSseEnabled"] == "true"
        redrive = json.loads(events["RedrivePolicy"])
        assert redrive == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 10}
    fifo = queued.queue("events.fifo")
    assert (fifo["FifoQueue"], fifo["ContentBasedDeduplication"]) == ("true", "false")
    assert (fifo["DeduplicationScope"], fifo["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")
    assert piped.queue("pipe-dead-letters")["MessageRetentionPeriod"] == str(14 * 86400)


def test_pipe(piped: Applied) -> None:
    """moto keeps a pipe and moves nothing through it."""
    pipe = piped.aws.client("pipes").describe_pipe(Name="piped-events")

    assert (pipe["DesiredState"], pipe["Target"]) == ("RUNNING", f"{SQS}piped-events")
    assert pipe["Source"].startswith(f"{DYNAMODB}table/piped-events/stream/")
    assert [json.loads(it["Pattern"]) for it in pipe["SourceParameters"]["FilterCriteria"]["Filters"]] == [
        {"eventName": ["INSERT"]}
    ]
    assert pipe["SourceParameters"]["DynamoDBStreamParameters"] == {
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 10,
        "MaximumRecordAgeInSeconds": 43200,
        "MaximumRetryAttempts": 100,
        "OnPartialBatchItemFailure": "AUTOMATIC_BISECT",
        "DeadLetterConfig": {"Arn": f"{SQS}piped-pipe-dead-letters"},
    }
    template = (ROOT / "aws_lambda" / "template.yaml").read_text()
    ours = pipe["TargetParameters"]["InputTemplate"]
    assert re.findall(r'"\w+": <.*?>', ours) == re.findall(r'"\w+": <.*?>', template) != []


def test_alarms(piped: Applied, queued: Applied) -> None:
    for applied, names in (
        (piped, ALARMS | {"queue-age", "dead-letters", "pipe", "pipe-dead-letters"}),
        (queued, ALARMS | {"queue-age", "dead-letters"}),
    ):
        cloudwatch = applied.aws.client("cloudwatch")
        found = cloudwatch.describe_alarms(AlarmNamePrefix=f"{applied.name}-")["MetricAlarms"]
        alarms = {it["AlarmName"].removeprefix(f"{applied.name}-"): it for it in found}
        assert set(alarms) == names
        silence = alarms.pop("silence")
        assert (silence["Namespace"], silence["MetricName"]) == ("DataConnector", "Stored")
        assert (silence["Period"], silence["EvaluationPeriods"], silence["Threshold"]) == (60, 60, 1.0)
        assert (silence["ComparisonOperator"], silence["TreatMissingData"]) == ("LessThanThreshold", "breaching")
        assert silence["Dimensions"] == [{"Name": "FunctionName", "Value": applied.name}]
        for name, alarm in alarms.items():
            assert alarm["ComparisonOperator"] == "GreaterThanThreshold", name
            assert alarm["TreatMissingData"] == "notBreaching", name
        topics = [f"{ARN % 'sns'}piped-alarms"] if applied is piped else []
        assert all(alarm["AlarmActions"] == topics for alarm in found)
    metrics = {
        it["MetricStat"]["Metric"]["MetricName"]
        for alarm in piped.aws.client("cloudwatch").describe_alarms(AlarmNames=["piped-pipe"])["MetricAlarms"]
        for it in alarm["Metrics"]
        if "MetricStat" in it
    }
    assert metrics == {f"Execution{it}" for it in ("Failed", "PartiallyFailed", "Throttled", "Timeout")}
    (subscription,) = piped.aws.client("sns").list_subscriptions()["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "somebody@example.com")


def test_dashboard(piped: Applied, queued: Applied) -> None:
    for applied, table, queues in (
        (piped, "piped-events", {"piped-events", "piped-dead-letters", "piped-pipe-dead-letters"}),
        (queued, "queued-seen-keys", {"queued-events.fifo", "queued-dead-letters.fifo"}),
    ):
        body = applied.aws.client("cloudwatch").get_dashboard(DashboardName=applied.name)["DashboardBody"]
        widgets = {it["properties"]["title"]: it["properties"]["metrics"] for it in json.loads(body)["widgets"]}
        assert {it[1] for it in widgets["Events"]} == {"Stored", "Duplicate", "Dropped", "Refused", "Failed"}
        assert {it[3] for it in widgets["Table"]} == {table}
        assert {it[3] for title in ("Queue", "Dead letters") for it in widgets[title]} == queues


def test_zz_destroy_leaves_what_holds_events(piped: Applied, queued: Applied) -> None:
    """Refused first; done once Terraform has forgotten the tables and queues, by the command that main.tf names."""
    refused = queued.destroy()
    assert refused.returncode == 1
    assert "prevent_destroy" in refused.stderr
    assert queued.resources >= RECEIVER, "a refused destroy destroys nothing"

    comment = (SOURCE / "main.tf").read_text()
    (pattern,) = re.findall(r"terraform state list \| grep -E '(.*)' \| xargs terraform state rm", comment)
    for applied in (piped, queued):
        kept = [name for name in applied.resources if re.search(pattern, name)]
        assert len(kept) == 3
        applied.must("state", "rm", *kept)
    with ThreadPoolExecutor() as both:
        for found in both.map(Applied.destroy, [piped, queued]):
            assert found.returncode == 0, found.stderr

    aws = piped.aws
    assert sorted(aws.client("dynamodb").list_tables()["TableNames"]) == ["piped-events", "queued-seen-keys"]
    assert sorted(url.rpartition("/")[2] for url in aws.client("sqs").list_queues()["QueueUrls"]) == [
        "piped-dead-letters",
        "piped-events",
        "queued-dead-letters.fifo",
        "queued-events.fifo",
    ]
    assert aws.client("lambda").list_functions()["Functions"] == []
    assert aws.client("pipes").list_pipes()["Pipes"] == []
    assert aws.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
