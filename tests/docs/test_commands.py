"""Each command of the READMEs, of docs/deploying.md and of the deployment scripts is one that its program knows.

``tests.support.commands`` says how. ``make vendors`` installs the programs that take minutes to install, and runs these
tests with them.
"""

import os
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import app
from tests.support.commands import Call, Checkout, Vendor
from tests.support.found import targets
from tests.support.pages import PAGES
from tests.support.processes import ROOT

pytestmark = pytest.mark.long

AWS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-north-1"}
AWS |= {"AWS_MAX_ATTEMPTS": "1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "SAM_CLI_TELEMETRY": "0"}
GOOGLE = {"CLOUDSDK_CORE_PROJECT": "my-project", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:9"}
VENDORS = {
    "aws": Vendor(r"Could not connect to the endpoint URL|^\s*exit 1$", AWS, ".venv-aws/bin"),
    "bq": Vendor(
        "Cannot contact server",
        GOOGLE | {"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(ROOT / "heroku" / "Procfile")},
        before=("--api", AWS["AWS_ENDPOINT_URL"]),
    ),
    "curl": Vendor(r"exit [67]$"),
    "gcloud": Vendor("have an active account selected|Go to the following link|Updated property|^my-project$", GOOGLE),
    "gh": Vendor(
        "proxyconnect tcp|not a git repository", {"GH_TOKEN": "x", "GH_REPO": "a/b"} | NO_NETWORK, ".venv-ibm/bin"
    ),
    "openssl": Vendor("exit 0$"),
    "sam": Vendor("Could not connect to the endpoint URL|Are you sure", AWS, ".venv-aws/bin"),
    "terraform": Vendor("No (configuration|matching|outputs|state file)|empty directory|default credentials|exit 0$"),
}
# What takes a minute or more to install.
SLOW = {
    "az": Vendor(
        "Please run 'az login'|login.microsoftonline.com|BicepLatestRelease", NO_NETWORK, ".venv-azure-cli/bin"
    ),
    "heroku": Vendor(
        "ECONNREFUSED|ENOTFOUND|Cannot log in with HEROKU_API_KEY",
        {"HEROKU_API_KEY": "x", "HEROKU_HOST": "http://127.0.0.1:9"},
        "tests/support/heroku/node_modules/.bin",
    ),
}
OWN = ("dtconn", "make", "python", "python3")
# Not parsed: no package registry has the first three.
OTHERS = ("azd", "ibmcloud", "ngrok", "azurite", "git", "node")
# Not parsed either: only version 2 of the AWS CLI has the one, which no registry has, and an extension of az the other.
ELSEWHERE = {("aws", "logs", "tail"), ("az", "monitor", "app-insights", "query")}

NAMES = ("README.md", "docs/deploying.md", *(f"{path.parent.name}/README.md" for path in ROOT.glob("*/package.toml")))
PROGRAMS = VENDORS | (SLOW if os.environ.get("DT_VENDORS") else {})


def shell(name: str) -> str:
    return "\n".join(block.text for block in PAGES[name].blocks if block.language == "sh")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    checkout = Checkout(tmp_path_factory.mktemp("commands"), [*VENDORS, *SLOW, *OWN, *OTHERS])
    scripts = [f"sh {path.relative_to(ROOT)} dt-receiver" for path in sorted(ROOT.glob("*/deploy.sh"))]
    return [call for text in (*map(shell, NAMES), *scripts) for call in checkout.calls(text)]


def test_every_command_of_a_page_is_called(calls: list[Call]) -> None:
    """Also those in a loop, in a function, in a condition, and behind a pipe."""
    known = {call.words[:length] for call in calls for length in range(1, len(call.words) + 1)}
    command = re.compile(
        rf"(?:^|[|&(]|\bdo|\bthen|xargs)[ \n]*((?:{'|'.join(VENDORS | SLOW)})(?: [a-z][a-z0-9:-]*)*)(?=[ \n])",
        re.MULTILINE,
    )
    for name in NAMES:
        named = {tuple(found.split()) for found in command.findall(shell(name))}
        assert named <= known, name


@pytest.mark.parametrize("program", PROGRAMS)
def test_vendor_parses_its_commands(program: str, calls: list[Call], tmp_path: Path) -> None:
    vendor = PROGRAMS[program]
    if vendor.path(program) is None:
        pytest.skip(f"no {program}: make tools, make vendors, or install it")
    ours = {call.shape: call for call in calls if call.program == program and call.words not in ELSEWHERE}
    first = next(iter(ours.values()))
    wrong = first._replace(arguments=(*first.arguments, "--no-such-option"))
    with ThreadPoolExecutor(2) as pool:
        says = dict(pool.map(lambda call: (call, vendor.says(call, tmp_path)), [wrong, *ours.values()]))
    refused = {call for call, said in says.items() if not re.search(vendor.parsed, said, re.MULTILINE)}
    assert refused == {wrong}, "\n".join(f"{call.arguments}: {says[call]}" for call in refused - {wrong})


def test_targets_and_options_of_our_own_commands_exist(calls: list[Call]) -> None:
    known = targets()
    for call in calls:
        if call.program == "make":
            assert call.arguments[0] in known, call
            if not call.arguments[0].startswith(("run", "package-", "deploy-")):
                [given] = [it.removeprefix("ARGS=") for it in call.arguments[1:]] or [""]
                _parse(
                    [*re.sub("^(first-event|rotate-secret)-", r"\1 ", call.arguments[0]).split(), *shlex.split(given)]
                )
        elif call.program == "dtconn":
            _parse(list(call.arguments))
        elif call.words[:2] == ("terraform", "output"):
            folder = call.arguments[0].removeprefix("-chdir=")
            assert f'output "{call.arguments[-1]}" {{' in (ROOT / folder / "outputs.tf").read_text(), call
        elif call.arguments[:1] == ("-m",):
            assert find_spec(call.arguments[1]), call
        elif call.arguments[:1] == ("-c",):
            compile(call.arguments[1], "-c", "exec")


def _parse(arguments: list[str]) -> None:
    name, *options = arguments
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    group.commands[name].make_context(name, options)
