"""template.yaml translated by SAM, and its expected resources in each variant."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "aws_lambda" / "template.yaml"
TOOLS = Path(os.environ.get("DT_AWS_TOOLS") or ROOT / ".venv-aws" / "bin")
INSTALL = "make aws-tools"

MISSING = f"no sam, cfn-lint and parliament in {TOOLS}: {INSTALL}; or set DT_AWS_TOOLS to the folder that has them"
TOOLS_ARE_THERE = all((TOOLS / name).exists() for name in ("sam", "cfn-lint", "parliament", "python"))

needs_tools = pytest.mark.skipif(not TOOLS_ARE_THERE, reason=MISSING)

IN_TABLE = {"Store": "dynamodb"}
WITH_PIPE = {"Store": "dynamodb", "Queue": "yes"}
IN_QUEUE = {"Store": "sqs"}
IN_FIFO = {"Store": "sqs", "Fifo": "yes"}
VARIANTS = {"table": IN_TABLE, "table and pipe": WITH_PIPE, "queue": IN_QUEUE, "fifo": IN_FIFO}

ALARM = "AWS::CloudWatch::Alarm"
OF_TYPE = {
    "Receiver": "Lambda::Function",
    "ReceiverUrl": "Lambda::Url",
    "ReceiverUrlPublicPermissions": "Lambda::Permission",
    "ReceiverURLInvokeAllowPublicAccess": "Lambda::Permission",
    "ReceiverRole": "IAM::Role",
    "ReceiverLogs": "Logs::LogGroup",
    "SignatureSecret": "SecretsManager::Secret",
    "Dashboard": "CloudWatch::Dashboard",
}
ALWAYS = {name: f"AWS::{kind}" for name, kind in OF_TYPE.items()}
ALWAYS |= dict.fromkeys((f"{it}Alarm" for it in ("Silence", "Failed", "Errors", "Throttles", "Url5xx")), ALARM)
QUEUE = dict.fromkeys(("EventQueue", "EventDeadLetters"), "AWS::SQS::Queue")
QUEUE |= dict.fromkeys(("QueueAgeAlarm", "DeadLettersAlarm"), ALARM)
PIPE = {"EventPipe": "AWS::Pipes::Pipe", "EventPipeRole": "AWS::IAM::Role", "PipeDeadLetters": "AWS::SQS::Queue"}
PIPE |= dict.fromkeys(("PipeAlarm", "PipeDeadLettersAlarm"), ALARM)
EVENTS, SEEN = {"Events": "AWS::DynamoDB::Table"}, {"SeenKeys": "AWS::DynamoDB::Table"}
RESOURCES = {
    "table": ALWAYS | EVENTS,
    "table and pipe": ALWAYS | EVENTS | QUEUE | PIPE,
    "queue": ALWAYS | SEEN | QUEUE,
    "fifo": ALWAYS | SEEN | QUEUE,
}

EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
# Runs in the environment of SAM's tools. `sam deploy` would put the S3 address in, so we do. No managed policy is used.
TRANSLATE = """
import json, sys
from types import SimpleNamespace
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
template = yaml_parse(sys.stdin.read())
template["Resources"]["Receiver"]["Properties"]["CodeUri"] = "s3://code/aws_lambda.zip"
print(json.dumps(transform(template, {}, SimpleNamespace(load=dict))))
"""


class Chosen:
    """The translated template for given parameters: conditions and parameters are evaluated, references are not."""

    def __init__(self, template: dict[str, Any], parameters: dict[str, str]) -> None:
        self.parameters = {name: str(it["Default"]) for name, it in template["Parameters"].items()} | parameters
        self._conditions = template["Conditions"]
        self._rules = template["Rules"]
        self.resources: dict[str, Any] = {
            name: self._put_in(resource)
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]})
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


def unknown_permissions(granted: list[Any], folder: Path) -> set[str]:
    """Return the actions that are not in AWS's list, according to parliament."""
    document = json.dumps({"Version": "2012-10-17", "Statement": granted})
    found = run("parliament", "--string", document, "--json", folder=folder)
    issues = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode in (0, 1), found.stderr
    return {it["detail"] for it in issues if it["issue"] == "UNKNOWN_ACTION"}
