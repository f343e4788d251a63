"""Each command of the READMEs, of docs/deploying.md and of the deployment scripts is one that its program knows.

``tests.support.commands`` says how. ``make vendors`` installs the programs that take minutes to install, and runs these
tests with them.
"""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import app
from tests.support.commands import PROGRAMS, SLOW, VENDORS, Call, Checkout, refused
from tests.support.found import targets
from tests.support.pages import PAGES
from tests.support.processes import ROOT
from tests.support.sam import needs_tools, unknown_permissions

pytestmark = pytest.mark.long

OWN = ("dtconn", "make", "python", "python3")
# Not parsed: no package registry has the first three.
OTHERS = ("azd", "ibmcloud", "ngrok", "azurite", "git", "node")
# Not parsed either: the one is only in version 2 of the AWS CLI, which PyPI has not; the other in an extension of az.
ELSEWHERE = {("aws", "logs", "tail"), ("az", "monitor", "app-insights", "query")}

NAMES = ("README.md", "docs/deploying.md", *(f"{path.parent.name}/README.md" for path in ROOT.glob("*/package.toml")))


PAGES_SHELL = {name: "".join(block.text for block in PAGES[name].blocks if block.language == "sh") for name in NAMES}
SCRIPTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.glob("*_*/*.sh"))}
SCRIPTS |= {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.glob("heroku/*.sh"))}


def usage(path: str) -> str:
    """Return the call that a script shows at its beginning, without what is optional."""
    shown = re.search(rf"^#   (?:.* )?(sh {path}.*)$", SCRIPTS[path], re.MULTILINE)
    return re.sub(r" \[.*", "", shown[1]).replace(" APP", " app") if shown else f"sh {path}"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    checkout = Checkout(tmp_path_factory.mktemp("commands"), [*VENDORS, *SLOW, *OWN, *OTHERS])
    return [call for text in (*PAGES_SHELL.values(), *map(usage, SCRIPTS)) for call in checkout.calls(text)]


def test_every_command_is_called(calls: list[Call]) -> None:
    """Also those in a loop, in a function, in a condition, and behind a pipe."""
    known = {call.words[:length] for call in calls for length in range(1, len(call.words) + 1)}
    programs = "|".join(VENDORS | SLOW)
    command = re.compile(
        rf"(?:^|[|&(]|\bdo|\bthen|xargs) *((?:{programs})(?: [a-z][a-z0-9:-]*)*)(?=[ \n])", re.MULTILINE
    )
    for name, text in (PAGES_SHELL | SCRIPTS).items():
        named = {tuple(found.split()) for found in command.findall(re.sub(r"(^|\s)#.*", "", text))}
        assert named <= known, name


@pytest.mark.parametrize("program", PROGRAMS)
def test_vendor_parses_its_commands(program: str, calls: list[Call], tmp_path: Path) -> None:
    if PROGRAMS[program].path(program) is None:
        pytest.skip(f"no {program}: make tools, make vendors, or install it")
    ours = [call for call in calls if call.program == program and call.words not in ELSEWHERE]
    assert refused(ours, tmp_path) == {}
    assert refused([ours[0]._replace(arguments=(*ours[0].arguments, "--no-such-option"))], tmp_path) != {}


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


@needs_tools
def test_aws_has_the_permissions_that_pages_name(tmp_path: Path) -> None:
    """Those of the policies in commands, those in the prose, and those of the templates."""
    text = "".join(PAGES[name].text for name in NAMES if name.startswith(("aws_", "docs/")))
    text += "".join(path.read_text() for path in ROOT.glob("aws_lambda/*.yaml"))
    named = set(re.findall(r"\b[a-z]+:[A-Z][A-Za-z]+\b", text))
    assert named >= {"iam:PassRole", "dynamodb:PutItem", "sqs:DeleteMessage"}
    statement = {"Effect": "Allow", "Action": [*named, "iam:PasRole"], "Resource": "*"}
    assert unknown_permissions([statement], tmp_path) == {"Unknown action iam:PasRole"}
