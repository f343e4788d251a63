"""terraform/: applied by Terraform and the AWS provider to moto_server, which stands in for AWS."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws import REGION
from tests.support.moto import ACCOUNT, MotoServer, moto_server
from tests.support.sam import EMPTY_ZIP, needs_tools, unknown_permissions
from tests.support.terraform import ROOT, Terraform, needs_terraform, options

SOURCE = ROOT / "aws_lambda" / "terraform"
# Terraform's default folder for a mirror of providers.
MIRRORS = [
    *([Path(os.environ["DT_TF_PLUGINS"])] if os.environ.get("DT_TF_PLUGINS") else []),
    Path.home() / ".terraform.d" / "plugins",
    Path("/usr/local/share/terraform/plugins"),
    Path("/usr/share/terraform/plugins"),
]
MIRROR = next((path for path in MIRRORS if any(path.glob("*/hashicorp/aws/*"))), None)

pytestmark = [
    needs_terraform,
    pytest.mark.skipif(
        MIRROR is None,
        reason="no mirror of the AWS provider: terraform -chdir=aws_lambda/terraform providers mirror FOLDER, "
        "and set DT_TF_PLUGINS to FOLDER",
    ),
]

ARN = f"arn:aws:%s:{REGION}:{ACCOUNT}:"
DYNAMODB, SQS, LOGS = (ARN % service for service in ("dynamodb", "sqs", "logs"))


class Applied(Terraform):
    """A copy of the folder, with a package where it looks for one; not the real package: any zip will do."""

    def __init__(self, folder: Path, aws: MotoServer, name: str, **variables: str) -> None:
        config = folder / "terraform.rc"
        config.write_text(f"provider_installation {{ filesystem_mirror {{ path = {json.dumps(str(MIRROR))} }} }}")
        super().__init__(folder / "aws_lambda" / "terraform", str(config), aws.environment)
        self.aws, self.name = aws, name
        self.planned: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.variables = options({"name": name} | variables)
        shutil.copytree(SOURCE, self.folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        (folder / "dist").mkdir()
        (folder / "dist" / "aws_lambda.zip").write_bytes(EMPTY_ZIP)

    def apply(self) -> "Applied":
        self.must("init")
        self.must("plan", "-out=plan", *self.variables)
        resources = self.shown("plan")["planned_values"]["root_module"]["resources"]
        self.planned = {it["address"]: it["values"] for it in resources}
        self.must("apply", "plan")
        resources = self.shown()["values"]["root_module"]["resources"]
        self.state = {it["address"]: it["values"] for it in resources if it["mode"] == "managed"}
        return self

    def destroy(self) -> "subprocess.CompletedProcess[str]":
        return self.run("destroy", "-auto-approve", *self.variables)

    @property
    def outputs(self) -> dict[str, Any]:
        return {name: it["value"] for name, it in json.loads(self.must("output", "-json")).items()}

    def policy(self, role: str) -> list[Any]:
        """Return the statements of a role's only policy, as AWS keeps it."""
        iam, name = self.aws.client("iam"), self.state[f"aws_iam_role.{role}"]["name"]
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
        statements: list[Any] = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]["Statement"]
        return statements


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Applied]]:
    """Both stores in parallel: the provider waits 25 s for each queue."""
    with moto_server() as aws, ThreadPoolExecutor() as both:
        piped = Applied(tmp_path_factory.mktemp("tf"), aws, "piped", queue="true", alarm_email="somebody@example.com")
        queued = Applied(
            tmp_path_factory.mktemp("tf"), aws, "queued", store="sqs", fifo="true", reserved_concurrency="0"
        )
        yield {it.name: it for it in both.map(Applied.apply, [piped, queued])}


@pytest.fixture
def piped(applied: dict[str, Applied]) -> Applied:
    """Store dynamodb, with a pipe into a queue and an address for alarms."""
    return applied["piped"]


@pytest.fixture
def queued(applied: dict[str, Applied]) -> Applied:
    """Store sqs, FIFO."""
    return applied["queued"]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (["-var=store=sqs", "-var=queue=true"], "there is no table: set queue = false"),
        (["-var=store=dynamodb", "-var=fifo=true"], "fifo = true needs store"),
        (["-var=signature_policy=both"], "es256 and both need organization_id"),
        (["-var=silence_minutes=1441"], "From 1 to 1440"),
        (["-var=store=redis"], "dynamodb or sqs"),
    ],
)
def test_invalid_variables_are_refused(queued: Applied, variables: list[str], complaint: str) -> None:
    assert complaint in queued.must_not_plan("-refresh=false", *queued.variables, "-var=fifo=false", *variables)


def test_variables_and_outputs_are_those_of_the_template() -> None:
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


# ---- what must never change ------------------------------------------------------------------------------------------

# Address and name: with another, Terraform would make a new one and leave or destroy the one that is in use.
ALARM = 'aws_cloudwatch_metric_alarm.more_than["%s"]'
RECEIVER = {
    "aws_cloudformation_stack.url_permission": "%s-url-permission",
    "aws_cloudwatch_dashboard.receiver": "%s",
    "aws_cloudwatch_log_group.receiver": "/aws/lambda/%s",
    "aws_cloudwatch_metric_alarm.silence": "%s-silence",
    **{ALARM % it: f"%s-{it}" for it in ("failed", "errors", "throttles", "url-5xx", "queue-age", "dead-letters")},
    "aws_iam_role.receiver": "%s-[0-9]+",
    "aws_iam_role_policy.receiver": "receiver",
    "aws_lambda_function.receiver": "%s",
    "aws_lambda_function_url.receiver": "%s",
    "aws_lambda_permission.url": "%s",
    "aws_secretsmanager_secret.signature": "%s-signature-[0-9]+",
    "aws_secretsmanager_secret_version.signature": "arn:.*:secret:%s-signature-.*",
    "aws_sqs_queue.dead_letters[0]": "%s-dead-letters(.fifo)?",
    "aws_sqs_queue.events[0]": "%s-events(.fifo)?",
}
PIPED = {
    "aws_cloudwatch_metric_alarm.pipe[0]": "%s-pipe",
    ALARM % "pipe-dead-letters": "%s-pipe-dead-letters",
    "aws_dynamodb_table.events[0]": "%s-events",
    "aws_iam_role.pipe[0]": "%s-pipe-[0-9]+",
    "aws_iam_role_policy.pipe[0]": "pipe",
    "aws_pipes_pipe.events[0]": "%s-events",
    "aws_sns_topic.alarms[0]": "%s-alarms",
    "aws_sns_topic_subscription.alarms[0]": "arn:.*:%s-alarms",
    "aws_sqs_queue.pipe_dead_letters[0]": "%s-pipe-dead-letters",
}
QUEUED = {"aws_dynamodb_table.seen_keys[0]": "%s-seen-keys"}
NAMED = ("name", "alarm_name", "dashboard_name", "function_name", "secret_id", "topic_arn")


def test_addresses_and_names_of_resources(piped: Applied, queued: Applied) -> None:
    for applied, expected in ((piped, RECEIVER | PIPED), (queued, RECEIVER | QUEUED)):
        assert applied.state.keys() == expected.keys()
        for address, values in applied.state.items():
            name = next(str(values[it]) for it in NAMED if values.get(it))
            assert re.fullmatch(expected[address].replace("%s", applied.name), name), f"{address}: {name}"


def test_second_plan_destroys_and_replaces_nothing(piped: Applied, queued: Applied) -> None:
    def actions(applied: Applied) -> dict[str, list[str]]:
        applied.must("plan", "-out=again", *applied.variables)
        changes = applied.shown("again")["resource_changes"]
        return {it["address"]: it["change"]["actions"] for it in changes if it["mode"] == "managed"}

    with ThreadPoolExecutor() as both:
        for applied, found in zip((piped, queued), both.map(actions, (piped, queued)), strict=True):
            assert found.keys() == applied.state.keys()
            # moto gives the redrive policy and the template back in another spelling, and no logging configuration.
            changed = {address for address, it in found.items() if it != ["no-op"]}
            assert not {address for address in changed if {"create", "delete"} & set(found[address])}
            kept = ("aws_dynamodb_table", "aws_secretsmanager", "aws_lambda_function_url")
            assert not {address for address in changed if address.startswith(kept)}


# ---- the function ----------------------------------------------------------------------------------------------------


def test_function_and_log_retention(piped: Applied, queued: Applied) -> None:
    for applied, reserved in ((piped, 20), (queued, -1)):
        function = applied.state["aws_lambda_function.receiver"]
        assert (function["handler"], function["runtime"]) == ("aws_lambda.handler.handler", "python3.13")
        assert (function["architectures"], function["timeout"], function["memory_size"]) == (["arm64"], 9, 256)
        assert function["reserved_concurrent_executions"] == reserved
        # moto takes no logging configuration: this is what Terraform meant to ask for.
        (logging,) = applied.planned["aws_lambda_function.receiver"]["logging_config"]
        assert logging["log_group"] == f"/aws/lambda/{applied.name}"
        assert (logging["log_format"], logging["application_log_level"]) == ("JSON", "INFO")
        assert applied.state["aws_cloudwatch_log_group.receiver"]["retention_in_days"] == 30


def test_environment_names_the_store_and_the_secret(piped: Applied, queued: Applied) -> None:
    common = {"DT_KEEP_DAYS": "365", "DT_SIGNATURE_POLICY": "any", "DT_ACCEPT_EXPIRED_FOR": "0"}
    common |= dict.fromkeys(("DT_ORGANIZATION_ID", "DT_EVENT_TYPES", "DT_PROJECT_ID"), "")
    url = queued.outputs["queue_url"]
    for applied, more in (
        (piped, {"DT_STORE": "dynamodb", "DT_TABLE": "piped-events"}),
        (queued, {"DT_STORE": "sqs", "DT_QUEUE_URL": url, "DT_SEEN_TABLE": "queued-seen-keys"}),
    ):
        (environment,) = applied.state["aws_lambda_function.receiver"]["environment"]
        assert environment["variables"] == common | more | {"DT_SIGNATURE_SECRET_ID": applied.outputs["secret"]}


def test_source_names_the_table_or_the_queue(piped: Applied, queued: Applied) -> None:
    assert piped.outputs["source"] == "dynamodb:piped-events"
    assert queued.outputs["source"] == f"sqs:{queued.outputs['queue_url']}"


# ---- permissions, encryption, retention ------------------------------------------------------------------------------


def test_public_access_is_to_the_url_and_not_to_the_function(piped: Applied) -> None:
    """moto shows the parameters of the request, where AWS shows a Condition."""
    client = piped.aws.client("lambda")
    url = client.get_function_url_config(FunctionName="piped")
    assert (url["AuthType"], url["FunctionUrl"]) == ("NONE", piped.outputs["url"])
    statements = json.loads(client.get_policy(FunctionName="piped")["Policy"])["Statement"]
    of_url = {it["Sid"]: it["FunctionUrlAuthType"] for it in statements if it["Action"] == "lambda:InvokeFunctionUrl"}
    # The provider adds the second itself.
    assert of_url == {"PublicUrl": "NONE", "FunctionURLAllowPublicAccess": "NONE"}
    (of_function,) = (it for it in statements if it["Action"] != "lambda:InvokeFunctionUrl")
    assert (of_function["Action"], of_function["Principal"]) == ("lambda:InvokeFunction", "*")
    assert of_function["InvokedViaFunctionUrl"] is True
    template = json.loads(piped.state["aws_cloudformation_stack.url_permission"]["template_body"])
    (permission,) = template["Resources"].values()
    assert permission["Properties"]["InvokedViaFunctionUrl"] is True


def test_permissions_of_the_roles(piped: Applied, queued: Applied) -> None:
    def granted(statements: list[Any]) -> dict[tuple[str, ...], Any]:
        assert all(it.keys() == {"Effect", "Action", "Resource"} for it in statements)
        return {tuple(it["Action"]): it["Resource"] for it in statements}

    stream = piped.state["aws_dynamodb_table.events[0]"]["stream_arn"]
    for applied, store in (
        (piped, {("dynamodb:PutItem",): f"{DYNAMODB}table/piped-events"}),
        (
            queued,
            {
                ("dynamodb:GetItem", "dynamodb:PutItem"): f"{DYNAMODB}table/queued-seen-keys",
                ("sqs:SendMessage",): f"{SQS}queued-events.fifo",
            },
        ),
    ):
        assert granted(applied.policy("receiver")) == store | {
            ("logs:CreateLogStream", "logs:PutLogEvents"): f"{LOGS}log-group:/aws/lambda/{applied.name}:*",
            ("secretsmanager:GetSecretValue",): applied.outputs["secret"],
        }
    read = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
    assert granted(piped.policy("pipe[0]")) == {
        tuple(f"dynamodb:{it}" for it in read): stream,
        ("sqs:SendMessage",): [f"{SQS}piped-events", f"{SQS}piped-pipe-dead-letters"],
    }
    for role, service in (("receiver", "lambda"), ("pipe[0]", "pipes")):
        trust = json.loads(piped.state[f"aws_iam_role.{role}"]["assume_role_policy"])["Statement"]
        assert [(it["Principal"], it["Action"]) for it in trust] == [
            ({"Service": f"{service}.amazonaws.com"}, "sts:AssumeRole")
        ]


@needs_tools
def test_permissions_are_known_to_aws(piped: Applied, queued: Applied, tmp_path: Path) -> None:
    for statements in (piped.policy("receiver"), piped.policy("pipe[0]"), queued.policy("receiver")):
        assert unknown_permissions(statements, tmp_path) == set()


def test_secret_is_not_in_the_state(piped: Applied) -> None:
    secret = piped.aws.client("secretsmanager").get_secret_value(SecretId=piped.outputs["secret"])["SecretString"]

    assert re.fullmatch("[0-9A-Za-z]{64}", secret)
    files = [path.read_text() for path in piped.folder.glob("*.tfstate*")]
    assert files
    assert not any(secret in content for content in files)


@pytest.mark.parametrize(
    ("store", "name", "keys"),
    [("piped", "events", ("device", "timestampKey")), ("queued", "seen_keys", ("key", None))],
)
def test_tables_are_protected_and_have_backups(
    applied: dict[str, Applied], store: str, name: str, keys: tuple[str, str | None]
) -> None:
    table = applied[store].state[f"aws_dynamodb_table.{name}[0]"]

    assert (table["hash_key"], table["range_key"]) == keys
    assert table["billing_mode"] == "PAY_PER_REQUEST"
    assert table["deletion_protection_enabled"] is True
    assert [(it["attribute_name"], it["enabled"]) for it in table["ttl"]] == [("expiresAt", True)]
    assert [it["enabled"] for it in table["point_in_time_recovery"]] == [True]
    assert (table["stream_enabled"], table["stream_view_type"] or "") == (
        (True, "NEW_IMAGE") if name == "events" else (False, "")
    )


def test_queues_have_encryption_and_a_retention_of_14_days(piped: Applied, queued: Applied) -> None:
    for applied in (piped, queued):
        for address, queue in applied.state.items():
            if address.startswith("aws_sqs_queue."):
                assert queue["message_retention_seconds"] == 14 * 86400, address
                assert queue["sqs_managed_sse_enabled"] is True, address
        redrive = json.loads(applied.state["aws_sqs_queue.events[0]"]["redrive_policy"])
        dead = applied.state["aws_sqs_queue.dead_letters[0]"]["arn"]
        assert redrive == {"deadLetterTargetArn": dead, "maxReceiveCount": 10}
    fifo = queued.state["aws_sqs_queue.events[0]"]
    assert (fifo["fifo_queue"], fifo["content_based_deduplication"]) == (True, False)
    assert (fifo["deduplication_scope"], fifo["fifo_throughput_limit"]) == ("messageGroup", "perMessageGroupId")
    assert fifo["max_message_size"] == 262144


def test_pipe_retry_ends_before_stream_retention(piped: Applied) -> None:
    """moto keeps a pipe and moves nothing through it."""
    pipe = piped.aws.client("pipes").describe_pipe(Name="piped-events")
    source = pipe["SourceParameters"]["DynamoDBStreamParameters"]

    assert (pipe["DesiredState"], pipe["Target"]) == ("RUNNING", f"{SQS}piped-events")
    assert pipe["SourceParameters"]["FilterCriteria"]["Filters"] == [{"Pattern": '{"eventName":["INSERT"]}'}]
    assert (source["StartingPosition"], source["MaximumRecordAgeInSeconds"]) == ("TRIM_HORIZON", 43200)
    assert source["OnPartialBatchItemFailure"] == "AUTOMATIC_BISECT"
    assert source["DeadLetterConfig"] == {"Arn": f"{SQS}piped-pipe-dead-letters"}
    template = (ROOT / "aws_lambda" / "template.yaml").read_text()
    fields = re.findall(r'"\w+": <.*?>', pipe["TargetParameters"]["InputTemplate"])
    assert fields == re.findall(r'"\w+": <.*?>', template) != []


def test_alarms(piped: Applied, queued: Applied) -> None:
    """The table of names lists them; the metrics are those of the template."""
    template = (ROOT / "aws_lambda" / "template.yaml").read_text()
    for applied, topics in ((piped, [f"{ARN % 'sns'}piped-alarms"]), (queued, [])):
        alarms = {it["alarm_name"]: it for it in applied.state.values() if "alarm_name" in it}
        assert all((it["alarm_actions"] or []) == topics for it in alarms.values())
        assert all(f"MetricName: {it['metric_name']}\n" in template for it in alarms.values() if it["metric_name"])
        quiet = {name for name, it in alarms.items() if it["treat_missing_data"] == "notBreaching"}
        assert quiet == alarms.keys() - {f"{applied.name}-silence"}
    subscription = piped.state["aws_sns_topic_subscription.alarms[0]"]
    assert (subscription["protocol"], subscription["endpoint"]) == ("email", "somebody@example.com")


def test_zz_destroy_keeps_tables_and_queues(piped: Applied, queued: Applied) -> None:
    """Refused first; done after the `state rm` that main.tf documents."""
    refused = queued.destroy()
    assert refused.returncode == 1
    assert "prevent_destroy" in refused.stderr

    comment = (SOURCE / "main.tf").read_text()
    (pattern,) = re.findall(r"terraform state list \| grep -E '(.*)' \| xargs terraform state rm", comment)
    for applied in (piped, queued):
        kept = [name for name in applied.must("state", "list").split() if re.search(pattern, name)]
        assert len(kept) == 3
        applied.must("state", "rm", *kept)
    with ThreadPoolExecutor() as both:
        for found in both.map(Applied.destroy, [piped, queued]):
            assert found.returncode == 0, found.stderr

    aws = piped.aws
    assert sorted(aws.client("dynamodb").list_tables()["TableNames"]) == ["piped-events", "queued-seen-keys"]
    left = {url.rpartition("/")[2] for url in aws.client("sqs").list_queues()["QueueUrls"]}
    assert left == {"piped-events", "piped-dead-letters", "queued-events.fifo", "queued-dead-letters.fifo"}
    assert aws.client("lambda").list_functions()["Functions"] == []
