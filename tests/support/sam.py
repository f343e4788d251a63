"""template.yaml as SAM translates it, and what there should be of it in each variant."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

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


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
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
