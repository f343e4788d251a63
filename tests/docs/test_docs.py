"""What the documentation says is so: its commands, queries, settings, tables, samples and links."""

import ast
import inspect
import io
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from cli.main import app
from core import receiver
from core.environment import SettingsError
from core.event import parse_stored
from core.log import Log
from core.settings import Settings
from core.verify.signature import REASONS, Policy
from local.wiring import DATABASE
from tests.support.deliveries import ORGANIZATION, SECRET, body
from tests.support.pages import PAGES, Page
from tests.support.processes import ROOT, running

if sys.platform == "win32":
    pytest.skip("the commands are for a POSIX shell", allow_module_level=True)

NOW = datetime.now(UTC).replace(microsecond=0)
README, SETTINGS, PROTOCOL = (PAGES[name] for name in ("README.md", "docs/settings.md", "docs/protocol.md"))
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


# ---- what is named is there ------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """Return what GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@every_page
def test_links_lead_somewhere(page: Page) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.prose):
        place, _, anchor = target.partition("#")
        if "://" in place:
            assert place.startswith(("https://", "http://127.0.0.1")), target
            continue
        path = (page.path.parent / place).resolve() if place else page.path
        assert path.is_relative_to(ROOT), target
        assert path.exists(), target
        if anchor:
            assert anchor in map(slug, PAGES[path.relative_to(ROOT).as_posix()].headings), target


# What is in version control. var/ and dist/ are made, and other platforms' folders are only spoken of.
FOLDERS = (
    ".ci",
    "aws_lambda",
    "azure_functions",
    "bench",
    "cli",
    "core",
    "docs",
    "gcp_functions",
    "heroku",
    "ibm_actions",
    "local",
    "requirements",
    "tests",
    "tools",
)


# Written by deploy tools, or by whoever deploys.
WRITTEN = {
    "aws_lambda/samconfig.toml",
    "aws_lambda/terraform/terraform.tfvars",
    "gcp_functions/terraform/terraform.tfvars",
    "ibm_actions/deploy/terraform/terraform.tfvars",
}


def named_paths(page: Page) -> list[str]:
    words = [span for span in page.spans if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", span)]
    return [word for word in words if word.split("/")[0] in FOLDERS and word not in WRITTEN]


@every_page
def test_files_and_folders_exist(page: Page) -> None:
    # CONTRIBUTING.md speaks of requirements without their suffixes.
    missing = [path for path in named_paths(page) if not (ROOT / path).exists() and not (ROOT / f"{path}.in").exists()]
    assert missing == []


def test_files_and_folders_are_named() -> None:
    assert {"core/", "local/", "heroku/", "cli/", "docs/", "tests/", "tools/"} <= set(named_paths(README))
    assert "heroku/schema.sql" in named_paths(PAGES["heroku/README.md"])


def make_targets(page: Page) -> set[str]:
    return {name for line in page.commands() for name in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)(?![\w<-])", line)}


@every_page
def test_make_targets_exist(page: Page) -> None:
    existing = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert make_targets(page) <= existing


def test_make_targets_are_named() -> None:
    deploy = {"deploy-aws", "deploy-gcp", "deploy-azure", "deploy-ibm", "package-heroku"}
    assert {"run", "send", "events", "test", "bench"} | deploy <= make_targets(README)
    assert {"test-core", "campaign", "check", "format"} <= make_targets(PAGES["CONTRIBUTING.md"])


@every_page
def test_shell_is_shell(page: Page) -> None:
    for block in page.blocks:
        if block.language == "sh":
            subprocess.run(["sh", "-n"], input=block.text, text=True, check=True)


@every_page
def test_json_is_json_and_python_is_python(page: Page) -> None:
    for block in page.blocks:
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "python":
            ast.parse(block.text)


def dtconn(line: str) -> list[str] | None:
    """Return the arguments of dtconn in a command, be it dtconn's own or make's; None if there are none."""
    try:
        words = shlex.split(line.partition(" > ")[0])
    except ValueError:
        return None
    if words[:1] == ["dtconn"] and words[1:2] in (["send"], ["events"]):
        return words[1:]
    if words[:1] == ["make"] and words[1:2] in (["send"], ["events"]):
        given = [word.removeprefix("ARGS=") for word in words[2:] if word.startswith("ARGS=")]
        return [words[1], *(word for text in given for word in shlex.split(text))]
    return None


def test_options_of_dtconn_exist() -> None:
    found = [(page.name, words) for page in PAGES.values() for line in page.commands() if (words := dtconn(line))]
    assert {name for name, _ in found} >= {"README.md", "heroku/README.md", "docs/settings.md"}
    helps = {
        name: set(re.findall(r"--?[\w-]+", CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output))
        for name in ("send", "events")
    }
    for name, words in found:
        unknown = {word for word in words[1:] if word.startswith("-")} - helps[words[0]]
        assert not unknown, f"{name}: {words}"


# ---- README.md -------------------------------------------------------------------------------------------------------


def test_the_promises_are_held_by_tests_that_exist() -> None:
    rows = README.table("promise", "held by")
    assert len(rows) == 11
    for _, held_by in rows:
        links = re.findall(r"\[(\w+)\]\((tests/[\w/]+\.py)\)", held_by)
        assert links
        for name, file in links:
            nodes = ast.walk(ast.parse((ROOT / file).read_text()))
            assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_the_table_of_answers_has_each_status_that_the_receiver_gives() -> None:
    rows = README.table("situation", "stored", "answer")
    sources = [inspect.getsource(receiver), *(path.read_text() for path in ROOT.glob("*_functions/*.py"))]
    statuses = {200, *map(int, re.findall(r"\bproblem\(\s*(\d{3}),", "".join(sources)))}
    assert {int(answer) for _, _, answer in rows} == statuses
    assert all(answer == "200" for _, stored, answer in rows if stored.startswith("yes"))
    (limit,) = (situation for situation, _, answer in rows if answer == "413")
    assert limit == f"body above {receiver.MAX_BODY // 1024} KiB"
    assert f"Each answer comes in {receiver.DEADLINE:.0f} s at most" in README.prose


def run(args: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run dtconn where `make` would, with no settings but what is in that folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DT_", "DATABASE_URL"))}
    return subprocess.run(
        [sys.executable, "-m", "cli", *args],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_the_first_minute(tmp_path: Path) -> None:
    """The commands of README.md in their order, and its queries, against a receiver that was just started."""
    first, second = README.of("sh", "Try it")
    clone, *rest = first.splitlines()
    assert re.fullmatch(r"git clone https://github\.com/OWNER/REPOSITORY\.git (\w+)", clone)
    assert rest == [f"cd {clone.split()[-1]}", "make run"]
    with running("local", {}, tmp_path) as program:
        sent, listed = (run(on(program.port, line), tmp_path).stdout for line in second.splitlines())
        says, table = README.of("text", "Try it")
        assert [shape(line) for line in says.splitlines()] == [shape(line) for line in sent.splitlines()[:2]]
        assert [shape(line) for line in table.splitlines()] == [shape(line) for line in listed.splitlines()]

        spans = [span for span in README.spans if dtconn(span) and "ARGS" in span]
        assert "make send ARGS=--tamper" in spans
        for span in spans:
            answered = run(on(program.port, span), tmp_path)
            assert answered.stdout
            assert ("  401 The request is not signed" in answered.stdout) == ("--tamper" in span)
        assert run(["events"], tmp_path).stdout == listed

        (looks,) = README.of("sh", "Look at your events")
        for line in looks.splitlines():
            rows = run(on(program.port, line), tmp_path).stdout.splitlines()
            assert len(rows) == 2, line
            assert rows[0].startswith("key,deviceId," if "--csv" in line else "time (UTC) "), line
    connection = sqlite3.connect(tmp_path / "var" / "events.db")
    for statement in PAGES["docs/local.md"].statements():
        assert connection.execute(statement).fetchall(), statement
    connection.close()
    assert "var/signature-secret" in README.spans
    assert (tmp_path / "var" / "signature-secret").exists()


def on(port: int, line: str) -> list[str]:
    """Return dtconn's arguments, with the port that the receiver has here."""
    words = dtconn(line)
    assert words, line
    return [*words, f"http://127.0.0.1:{port}"] if words[0] == "send" else words


def shape(line: str) -> list[str]:
    """Return a line without what is different each time."""
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", line)
    line = re.sub(r"[0-9a-v]{20}\.(\w+)\.\S+", r"KEY.\1", line)
    line = re.sub(r"\b\d+\.\d s\b", "DELAY", line)
    return re.sub(r"emu[0-9a-v]{20}", "DEVICE", line).split()


# ---- docs/settings.md ------------------------------------------------------------------------------------------------

VARIABLES = {row[0].strip("`"): row[1:] for row in SETTINGS.table("variable", "default", "meaning", "example")}


def variables_read(file: Path) -> set[str]:
    """Return the names of the environment variables that a module reads."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "getenv" or (node.func.attr == "get" and is_environ(node.func.value)):
                values = node.args[:1]
        elif isinstance(node, ast.Subscript) and is_environ(node.value):
            values = [node.slice]
        elif isinstance(node, ast.keyword) and node.arg == "envvar":
            values = node.value.elts if isinstance(node.value, ast.List) else [node.value]
        elif isinstance(node, ast.Constant):
            # Our own, whichever way they are read.
            values = [node] if re.fullmatch(r"DT_[A-Z0-9_]+", str(node.value)) else []
        found |= {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)}
    return found


def is_environ(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.strip("_") in ("environ", "environment")


def test_each_variable_that_is_read_is_listed_and_no_other() -> None:
    files = [
        file
        for package in ROOT.glob("*/__init__.py")
        # dt_cloud prints those of DT's clients; its own two are on its page.
        if package.parent.name not in ("bench", "tests", "dt_cloud")
        for file in package.parent.rglob("*.py")
    ]
    assert set().union(*map(variables_read, files)) == set(VARIABLES)


FIELDS = {
    "DT_SIGNATURE_POLICY": "policy",
    "DT_ISSUER": "issuer",
    "DT_LEEWAY": "leeway",
    "DT_ACCEPT_EXPIRED_FOR": "accept_expired_for",
    "DT_ACCEPT_SHA1": "accept_sha1",
}
BOTH = {"DT_SIGNATURE_SECRET": SECRET, "DT_ORGANIZATION_ID": ORGANIZATION}


@pytest.mark.parametrize("name", FIELDS)
def test_defaults_and_examples(name: str) -> None:
    default, _, example = (cell.strip("`") for cell in VARIABLES[name])

    def value(environ: dict[str, str]) -> str:
        found = str(getattr(Settings.load(environ).verifier, FIELDS[name]))
        return found.lower() if found in ("True", "False") else found

    given = example.removeprefix(f"{name}=")
    assert value(BOTH) == value(BOTH | {name: ""}) == default
    assert value(BOTH | {name: given}) == given != default


def test_limits() -> None:
    limits = {name: int(match[1]) for name, row in VARIABLES.items() if (match := re.search(r"up to (\d+)", row[1]))}
    assert set(limits) == {"DT_LEEWAY", "DT_ACCEPT_EXPIRED_FOR"}
    for name, limit in limits.items():
        Settings.load(BOTH | {name: str(limit)})
        with pytest.raises(SettingsError):
            Settings.load(BOTH | {name: str(limit + 1)})


def test_what_settings_md_sets_is_accepted() -> None:
    examples = [span.partition("=")[::2] for span in SETTINGS.spans if re.match(r"DT_\w+=", span)]
    assert {name for name, _ in examples} >= {name for name in VARIABLES if name.startswith("DT_")} - {"DT_JWKS"}
    for name, value in examples:
        Settings.load(({} if value == "unsigned" else BOTH) | {name: value})
    several = [value for _, value in examples if value.startswith("[")]
    assert len(several) >= 3
    assert VARIABLES["DT_DATABASE"][0] == f"`{DATABASE}`"
    # The examples of the table give no warning, such as of a short secret or an unknown event type.
    for name, row in VARIABLES.items():
        if row[2].startswith("`") and "$(" not in row[2]:
            assert Settings.load(BOTH | {name: row[2].strip("`").removeprefix(f"{name}=")}).warnings == ()


NOTHING: dict[str, str] = {}
ONE_SECRET, ONE_ORGANIZATION = ({name: value} for name, value in BOTH.items())
NEEDS = {
    "a secret, or an organization, or both": [ONE_SECRET, ONE_ORGANIZATION, BOTH],
    "a secret": [ONE_SECRET, BOTH],
    "an organization": [ONE_ORGANIZATION, BOTH],
    "a secret and an organization": [BOTH],
    "neither": [NOTHING],
}


def test_what_each_policy_needs() -> None:
    rows = SETTINGS.table("`DT_SIGNATURE_POLICY`", "needs", "lets in")
    assert [row[0].strip("`") for row in rows] == list(get_args(Policy))
    for policy, needs, _ in rows:
        enough = []
        for given in (NOTHING, ONE_SECRET, ONE_ORGANIZATION, BOTH):
            try:
                Settings.load(given | {"DT_SIGNATURE_POLICY": policy.strip("`")})
            except SettingsError:
                continue
            enough.append(given)
        assert enough == NEEDS[needs], policy


# ---- docs/protocol.md and the log ------------------------------------------------------------------------------------


def test_the_reasons_for_a_refusal() -> None:
    rows = PROTOCOL.table("check", "reason in the log")
    assert {reason for row in rows for reason in re.findall(r"`(\w+)`", row[1])} == set(REASONS)


def test_the_body_of_protocol_md_is_an_event() -> None:
    (content,) = PROTOCOL.of("json", "The body")
    event = parse_stored(content.encode(), NOW)
    assert event.parsed
    assert event.key == "cpbg96qngr7ai7ldarrg.temperature.emucdd6ef2eu277bo8f52vg"


LINES = [
    (page.name, block.text)
    for page in PAGES.values()
    for block in page.blocks
    if block.language == "json" and '"severity"' in block.text
]


def test_lines_of_the_log_are_shown() -> None:
    assert {name for name, _ in LINES} >= {"heroku/README.md", "docs/settings.md"}


@pytest.mark.parametrize("text", [text for _, text in LINES], ids=[name for name, _ in LINES])
def test_a_line_of_the_log_has_the_fields_that_are_written(text: str) -> None:
    shown: dict[str, Any] = json.loads(text)
    stream = io.StringIO()
    event = parse_stored(body(), NOW) if "key" in shown else None
    if event:
        event.signed_by = "hs256:0"
        _, event_type, device_id = shown["key"].split(".")
        assert (event_type, device_id) == (shown["eventType"], shown["deviceId"])
    Log(stream).request(
        shown["severity"],
        shown["outcome"],
        status=shown["status"],
        seconds=shown["totalMs"] / 1000,
        size=shown["bytes"],
        reason=shown.get("reason"),
        event=event,
    )
    written: dict[str, Any] = json.loads(stream.getvalue())
    assert list(written) == list(shown)
    named = ("severity", "message", "outcome", "status", "totalMs", "bytes", "reason", "signedBy")
    assert [written.get(name) for name in named] == [shown.get(name) for name in named]
    assert text.count("\n") == 1
