"""template.yaml as SAM translates and resolves it, and AWS's tools that check it."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "aws_lambda" / "template.yaml"
TOOLS = Path(os.environ.get("DT_AWS_TOOLS") or ROOT / ".venv-aws" / "bin")
MISSING = f"no sam, cfn-lint and parliament in {TOOLS}: make aws-tools; or set DT_AWS_TOOLS to the folder that has them"
TOOLS_ARE_THERE = all((TOOLS / name).exists() for name in ("sam", "cfn-lint", "parliament", "python"))
needs_tools = pytest.mark.skipif(not TOOLS_ARE_THERE, reason=MISSING)

EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
# Runs where SAM's own tools are. `sam deploy` would put the S3 address in, so we do. No managed policy is used.
# A reference to a resource becomes "<ID>", and to an attribute "<ID ATTRIBUTE>": Fn::Sub would split it at a dot.
RESOLVE = """
import json, sys
from copy import deepcopy
from types import SimpleNamespace
from samcli.lib.intrinsic_resolver.intrinsic_property_resolver import IntrinsicResolver
from samcli.lib.intrinsic_resolver.intrinsics_symbol_table import IntrinsicsSymbolTable
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

template = yaml_parse(open(sys.argv[1]))
template["Resources"]["Receiver"]["Properties"]["CodeUri"] = "s3://code/aws_lambda.zip"
template = transform(template, {}, SimpleNamespace(load=dict))
names = {"Ref": lambda name: f"<{name}>" if name in template["Resources"] else name}
for attribute in ("Arn", "StreamArn", "QueueName", "FunctionUrl"):
    names[attribute] = lambda name, attribute=attribute: f"<{name} {attribute}>"
nothing = "AWS::NoValue"

def kept(value):
    if isinstance(value, dict):
        return {name: kept(it) for name, it in value.items() if it != nothing}
    return [kept(it) for it in value if it != nothing] if isinstance(value, list) else value

for line in sys.stdin:
    parameters, known = json.loads(line)
    chosen = deepcopy(template)
    for name, it in chosen["Parameters"].items():
        it["Default"] = parameters.get(name, str(it["Default"]))
    sam = IntrinsicResolver(chosen, IntrinsicsSymbolTable(chosen, {nothing: nothing, **known}, {"": {}}, names))
    resolve = lambda value: sam.intrinsic_property_resolver(value, False)
    holds = lambda it: "Condition" not in it or resolve({"Fn::If": [it["Condition"], True, False]})
    rules = {name: resolve(rule) for name, rule in chosen["Rules"].items()}
    violated = [
        name for name, rule in rules.items()
        if rule["RuleCondition"] and not all(it["Assert"] for it in rule["Assertions"])
    ]
    resources = {name: kept(resolve(it)) for name, it in chosen["Resources"].items() if holds(it)}
    outputs = {name: kept(resolve(it["Value"])) for name, it in chosen["Outputs"].items() if holds(it)}
    print(json.dumps({"resources": resources, "outputs": outputs, "violated": violated}), flush=True)
"""


@dataclass
class Chosen:
    """The translated template for given parameters, resolved by SAM.

    Attributes:
        resources: By logical id.
        outputs: By name.
        violated: The names of the rules that refuse the parameters.
    """

    resources: dict[str, Any]
    outputs: dict[str, Any]
    violated: list[str]

    def properties(self, name: str) -> Any:
        return self.resources[name]["Properties"]

    def of_type(self, kind: str) -> dict[str, Any]:
        return {name: it["Properties"] for name, it in self.resources.items() if it["Type"] == kind}


Choose = Callable[..., Chosen]


@contextmanager
def resolving() -> Iterator[Choose]:
    """Yield a function that resolves the template for parameters, and for names of resources that are known."""
    if not TOOLS_ARE_THERE:
        pytest.skip(MISSING)
    command = [str(TOOLS / "python"), "-c", RESOLVE, str(TEMPLATE)]
    environ = {"PATH": "/usr/bin:/bin", "AWS_DEFAULT_REGION": "eu-north-1"}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sam:

        def choose(parameters: Mapping[str, str], names: Mapping[str, Mapping[str, str]] | None = None) -> Chosen:
            assert sam.stdin
            assert sam.stdout
            sam.stdin.write(json.dumps([parameters, names or {}]) + "\n")
            sam.stdin.flush()
            return Chosen(**json.loads(sam.stdout.readline()))

        yield choose


def statements(role: Any) -> list[Any]:
    return [one for policy in role["Policies"] for one in policy["PolicyDocument"]["Statement"]]


def run(tool: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{TOOLS}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "eu-north-1",
        **environment,
    }
    command = [str(TOOLS / tool), *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120)


def unknown_permissions(granted: list[Any], folder: Path) -> set[str]:
    """Return what parliament does not find in AWS's list of actions."""
    document = json.dumps({"Version": "2012-10-17", "Statement": granted})
    found = run("parliament", "--string", document, "--json", folder=folder)
    issues = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode in (0, 1), found.stderr
    return {it["detail"] for it in issues if it["issue"] == "UNKNOWN_ACTION"}
