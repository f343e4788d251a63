"""terraform/: applied by Terraform and the AWS provider to moto_server, which stands in for AWS.

What it makes is compared with template.yaml, whose own tests say what there should be.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.moto import MotoServer, moto_server
from tests.support.sam import EMPTY_ZIP, TEMPLATE, Chosen, needs_tools, resolving
from tests.support.terraform import ROOT, Configuration, Terraform, needs_terraform, options

SOURCE = ROOT / "aws_lambda" / "terraform"
# Terraform's default folders for a mirror of providers.
FOLDERS = ("~/.terraform.d/plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins")
MIRRORS = [Path(it).expanduser() for it in (os.environ.get("DT_TF_PLUGINS") or FOLDERS[0], *FOLDERS)]
MIRROR = next((path for path in MIRRORS if any(path.glob("*/hashicorp/aws/*"))), None)

pytestmark = [
    pytest.mark.long,
    needs_terraform,
    needs_tools,
    pytest.mark.skipif(
        MIRROR is None,
        reason="no mirror of the AWS provider: terraform -chdir=aws_lambda/terraform providers mirror FOLDER, "
        "and set DT_TF_PLUGINS to FOLDER",
    ),
]

EMAIL = "somebody@example.com"
# The same two deployments, by Terraform's variables and the template's parameters.
VARIABLES = {
    "piped": {"queue": "true", "alarm_email": EMAIL, "reserved_concurrency": "20"},
    "queued": {"store": "sqs", "fifo": "true"},
}
# The template's logical ids here, and what its references are in Terraform's state.
ADDRESSES = {
    "Receiver": "aws_lambda_function.receiver",
    "ReceiverRole": "aws_iam_role.receiver",
    "ReceiverLogs": "aws_cloudwatch_log_group.receiver",
    "SignatureSecret": "aws_secretsmanager_secret.signature",
    "Events": "aws_dynamodb_table.events[0]",
    "SeenKeys": "aws_dynamodb_table.seen_keys[0]",
    "EventQueue": "aws_sqs_queue.events[0]",
    "EventDeadLetters": "aws_sqs_queue.dead_letters[0]",
    "PipeDeadLetters": "aws_sqs_queue.pipe_dead_letters[0]",
    "EventPipe": "aws_pipes_pipe.events[0]",
    "EventPipeRole": "aws_iam_role.pipe[0]",
    "AlarmTopic": "aws_sns_topic.alarms[0]",
}
ATTRIBUTES = {"Ref": "id", "Arn": "arn", "StreamArn": "stream_arn", "QueueName": "name"}


class Applied(Terraform):
    """A copy of the folder, with a package where it looks for one; not the real package: any zip will do."""

    def __init__(self, folder: Path, aws: MotoServer, name: str) -> None:
        config = folder / "terraform.rc"
        config.write_text(f"provider_installation {{ filesystem_mirror {{ path = {json.dumps(str(MIRROR))} }} }}")
        super().__init__(folder / "aws_lambda" / "terraform", str(config), aws.environment)
        self.aws, self.name = aws, name
        self.planned: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.variables = options({"name": name} | VARIABLES[name])
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

    @property
    def outputs(self) -> dict[str, Any]:
        return {name: it["value"] for name, it in json.loads(self.must("output", "-json")).items()}

    @property
    def names(self) -> dict[str, dict[str, str]]:
        """What the template's references lead to here."""
        there = {logical: self.state[address] for logical, address in ADDRESSES.items() if address in self.state}
        names = {logical: {name: it.get(key, "") for name, key in ATTRIBUTES.items()} for logical, it in there.items()}
        names["ReceiverLogs"]["Arn"] += ":*"  # as CloudFormation has it
        return names

    def seen(self, address: str) -> dict[str, Any]:
        """Return what AWS has of a resource, by the template's names of properties."""
        client, it = self.aws.client, self.state[address]
        found: dict[str, Any]
        match address.partition(".")[0]:
            case "aws_lambda_function":
                found = client("lambda").get_function_configuration(FunctionName=it["function_name"])
                # moto takes no logging configuration: this is what Terraform meant to ask for.
                (logging,) = self.planned[address]["logging_config"]
                found["LoggingConfig"] = {pascal(name): value for name, value in logging.items()}
                if it["reserved_concurrent_executions"] != -1:  # none
                    found["ReservedConcurrentExecutions"] = it["reserved_concurrent_executions"]
            case "aws_cloudwatch_log_group":
                found = {"RetentionInDays": it["retention_in_days"]}
            case "aws_cloudwatch_metric_alarm":
                (found,) = client("cloudwatch").describe_alarms(AlarmNames=[it["alarm_name"]])["MetricAlarms"]
            case "aws_sqs_queue":
                found = client("sqs").get_queue_attributes(QueueUrl=it["url"], AttributeNames=["All"])["Attributes"]
                found["RedrivePolicy"] = json.loads(found.get("RedrivePolicy", "null"))
            case "aws_dynamodb_table":
                (ttl,), (recovery,) = it["ttl"], it["point_in_time_recovery"]
                found = client("dynamodb").describe_table(TableName=it["name"])["Table"] | {
                    "BillingMode": it["billing_mode"],
                    "TimeToLiveSpecification": {"AttributeName": ttl["attribute_name"], "Enabled": ttl["enabled"]},
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": recovery["enabled"]},
                    "StreamSpecification": {"StreamViewType": it["stream_view_type"]} if it["stream_enabled"] else None,
                }
            case "aws_iam_role":
                iam, role = client("iam"), {"RoleName": it["name"]}
                assert iam.list_attached_role_policies(**role)["AttachedPolicies"] == []
                names = iam.list_role_policies(**role)["PolicyNames"]
                policies = [iam.get_role_policy(**role, PolicyName=name) for name in names]
                found = {
                    "AssumeRolePolicyDocument": iam.get_role(**role)["Role"]["AssumeRolePolicyDocument"],
                    "Policies": [{key: it[key] for key in ("PolicyName", "PolicyDocument")} for it in policies],
                }
            case "aws_pipes_pipe":
                found = client("pipes").describe_pipe(Name=it["name"])
                assert found["DesiredState"] == "RUNNING"
        return found


def pascal(name: str) -> str:
    return "".join(map(str.capitalize, re.split("[_-]", name)))


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Applied]]:
    """Both stores in parallel: the provider waits 25 s for each queue."""
    with moto_server() as aws, ThreadPoolExecutor() as both:
        found = [Applied(tmp_path_factory.mktemp("tf"), aws, name) for name in VARIABLES]
        yield {it.name: it for it in both.map(Applied.apply, found)}


@pytest.fixture
def piped(applied: dict[str, Applied]) -> Applied:
    """Store dynamodb, with a pipe into a queue and an address for alarms."""
    return applied["piped"]


@pytest.fixture
def queued(applied: dict[str, Applied]) -> Applied:
    """Store sqs, FIFO."""
    return applied["queued"]


@pytest.fixture(params=VARIABLES)
def each(request: pytest.FixtureRequest, applied: dict[str, Applied]) -> Applied:
    return applied[request.param]


def parameters(name: str) -> dict[str, str]:
    return {pascal(key): "yes" if it == "true" else it for key, it in VARIABLES[name].items()}


@pytest.fixture(scope="module")
def templates(applied: dict[str, Applied]) -> dict[str, Chosen]:
    """The template, with the names of what Terraform made."""
    with resolving() as choose:
        return {name: choose(parameters(name), it.names) for name, it in applied.items()}


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (["-var=store=sqs", "-var=queue=true"], "there is no table: set queue = false"),
        (["-var=store=dynamodb", "-var=fifo=true"], "fifo = true needs store"),
        (["-var=signature_policy=both"], "es256 and both need organization_id"),
        (["-var=silence_minutes=1441"], "From 1 to 1440"),
        (["-var=store=redis"], "dynamodb or sqs"),
        (["-var=budget_amount=20"], "needs alarm_email"),
    ],
)
def test_invalid_variables_are_refused(queued: Applied, variables: list[str], complaint: str) -> None:
    assert complaint in queued.must_not_plan("-refresh=false", *queued.variables, "-var=fifo=false", *variables)


def test_variables_and_outputs_are_those_of_the_template() -> None:
    configuration, template = Configuration(SOURCE), TEMPLATE.read_text()
    for kind, section, more in (
        ("variable", "Parameters", {"Name", "Package", "MaxMessageSize", "Tags", "BudgetAmount"}),
        ("output", "Outputs", set()),
    ):
        (text,) = re.findall(rf"^{section}:\n((?:(?:  .*)?\n)+)", template, re.MULTILINE)
        names = set(re.findall(r"^  (\w+):$", text, re.MULTILINE))
        assert {pascal(name) for name in configuration.named(kind)} == names | more


# Address and name of what holds events, of the secret and of the URL: with another, Terraform would make a new one.
BOTH = {
    "aws_lambda_function.receiver": "%s",
    "aws_lambda_function_url.receiver": "%s",
    "aws_secretsmanager_secret.signature": "%s-signature-[0-9]+",
    "aws_sqs_queue.dead_letters[0]": "%s-dead-letters(.fifo)?",
    "aws_sqs_queue.events[0]": "%s-events(.fifo)?",
}
TABLES = {
    "piped": {"aws_dynamodb_table.events[0]": "%s-events"},
    "queued": {"aws_dynamodb_table.seen_keys[0]": "%s-seen-keys"},
}


def test_addresses_and_names_of_resources(each: Applied) -> None:
    for address, expected in (BOTH | TABLES[each.name]).items():
        values = each.state[address]
        name = values.get("name") or values["function_name"]
        assert re.fullmatch(expected.replace("%s", each.name), name), f"{address}: {name}"


BUDGET, MORE = "aws_budgets_budget.account[0]", ["-var=budget_amount=20", '-var=tags={team="facilities"}']


def test_second_plan_destroys_and_replaces_nothing(piped: Applied, queued: Applied) -> None:
    """Nor with tags and a budget."""

    def actions(applied: Applied) -> dict[str, list[str]]:
        applied.must("plan", "-out=again", *applied.variables, *(MORE if applied is piped else []))
        changes = applied.shown("again")["resource_changes"]
        return {it["address"]: but_for_tags(it["change"]) for it in changes if it["mode"] == "managed"}

    def but_for_tags(change: dict[str, Any]) -> list[str]:
        before, after = ((change[it] or {}) | {"tags": 0, "tags_all": 0} for it in ("before", "after"))
        return ["no-op"] if before == after else list(change["actions"])

    with ThreadPoolExecutor() as both:
        for applied, found in zip((piped, queued), both.map(actions, (piped, queued)), strict=True):
            assert found.pop(BUDGET, None) == (["create"] if applied is piped else None)
            assert found.keys() == applied.state.keys()
            # moto gives the redrive policy and the template back in another spelling, and no logging configuration.
            changed = {address for address, it in found.items() if it != ["no-op"]}
            assert not {address for address in changed if {"create", "delete"} & set(found[address])}
            kept = ("aws_dynamodb_table", "aws_secretsmanager", "aws_lambda_function_url")
            assert not {address for address in changed if address.startswith(kept)}


COMPARED = (
    *("Lambda::Function", "Logs::LogGroup", "IAM::Role", "DynamoDB::Table", "SQS::Queue", "Pipes::Pipe"),
    "CloudWatch::Alarm",
)
# Spelled another way; and version 5 of the provider takes no larger message.
NOT_COMPARED = {"AlarmDescription", "Code", "Id", "MaximumMessageSize", "Tags"}
# The template leaves them out.
ABSENT = ("AlarmActions", "FifoQueue", "RedrivePolicy", "ReservedConcurrentExecutions", "StreamSpecification")


def plain(value: Any) -> Any:
    """Return a value without what only its spelling differs in: order, text for a number, a list of one."""
    if isinstance(value, dict):
        return {name: plain(it) for name, it in value.items() if name not in NOT_COMPARED}
    if isinstance(value, list):
        items = sorted(map(plain, value), key=str)
        return items if len(items) > 1 else [*items, None][0]
    if value is None or isinstance(value, str):
        return value and value.strip()
    return json.dumps(value).removesuffix(".0")


def test_resources_are_as_in_the_template(each: Applied, templates: dict[str, Chosen]) -> None:
    """Function, environment, log, permissions, tables, queues, pipe, alarms. moto moves nothing through a pipe."""
    alarms = {it["alarm_name"]: address for address, it in each.state.items() if "alarm_name" in it}
    addresses = ADDRESSES | {f"{pascal(name.removeprefix(each.name))}Alarm": it for name, it in alarms.items()}
    differ: list[str] = []
    for logical, it in templates[each.name].resources.items():
        if it["Type"].removeprefix("AWS::") in COMPARED:
            found = each.seen(addresses[logical]) if addresses.get(logical) in each.state else {}
            expected = dict.fromkeys(ABSENT) | it["Properties"]
            pairs = {name: (plain(found.get(name)), plain(expected[name])) for name in expected.keys() - NOT_COMPARED}
            differ += [f"{logical} {name}: {one}, not {other}" for name, (one, other) in pairs.items() if one != other]
    assert differ == [], "\n".join(differ)
    assert each.outputs["source"] in ("dynamodb:piped-events", f"sqs:{each.outputs['queue_url']}")
    subscriptions = [it for address, it in each.state.items() if address.startswith("aws_sns_topic_subscription")]
    assert all((it["protocol"], it["endpoint"]) == ("email", EMAIL) for it in subscriptions)


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


def test_secret_is_not_in_the_state(piped: Applied) -> None:
    secret = piped.aws.client("secretsmanager").get_secret_value(SecretId=piped.outputs["secret"])["SecretString"]

    assert re.fullmatch("[0-9A-Za-z]{64}", secret)
    files = [path.read_text() for path in piped.folder.glob("*.tfstate*")]
    assert files
    assert not any(secret in content for content in files)
