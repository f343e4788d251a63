"""template.yaml as SAM translates and resolves it, and AWS's tools that check it."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools import Tools

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "aws_lambda" / "template.yaml"
AWS = Tools("aws", "sam", "cfn-lint", "parliament", "python")
TOOLS, needs_tools = AWS.folder, AWS.needed

EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
RESOLVE = Path(__file__).with_name("sam_resolve.py")


@dataclass
class Chosen:
    """The translated template for given parameters, resolved by SAM; ``violated`` are the rules that refuse these."""

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
    if AWS.missing:
        pytest.skip(AWS.missing)
    command = [str(TOOLS / "python"), str(RESOLVE), str(TEMPLATE)]
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
