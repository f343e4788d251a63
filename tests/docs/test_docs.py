"""The documentation is correct: its commands, queries, settings, tables, samples and links."""

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
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.deployment import clouds
from cli.main import app
from core import receiver
from core.event import parse_stored
from core.log import Log
from core.verify.signature import REASONS
from tests.support.deliveries import body
from tests.support.found import ADAPTER_FOLDERS, targets
from tests.support.pages import HEADINGS, PAGES, Page
from tests.support.processes import ROOT, running

if sys.platform == "win32":
    pytest.skip("the commands are for a POSIX shell", allow_module_level=True)

NOW = datetime.now(UTC).replace(microsecond=0)
README, PROTOCOL = PAGES["README.md"], PAGES["docs/protocol.md"]
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


# ---- named things exist ----------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """Return GitHub's anchor of a heading."""
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


# Without var/ and dist/, which are generated. Other platforms' folders are only mentioned.
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"var", "dist", "build"}
# Written by deploy tools or dtconn, or by the user who deploys.
WRITTEN = ("/samconfig.toml", "/terraform.tfvars", "/secret.auto.tfvars")


def named_paths(page: Page) -> list[str]:
    words = [span for span in page.spans if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", span)]
    return [
        word
        for word in words
        if word.split("/")[0] in FOLDERS and not word.endswith(WRITTEN) and not is_history(page, word)
    ]


def is_history(page: Page, named: str) -> bool:
    """Return whether a page only describes tests or targets of an adapter that a fork has removed."""
    is_gone = re.match("(package|deploy)-|.*-(tools|host)$", named) or not (ROOT / named).parent.is_dir()
    return bool(is_gone) and page.name.startswith(("docs/decisions/", "CHANGELOG.md"))


@every_page
def test_files_and_folders_exist(page: Page) -> None:
    # CONTRIBUTING.md names requirements without suffixes.
    missing = [path for path in named_paths(page) if not (ROOT / path).exists() and not (ROOT / f"{path}.in").exists()]
    assert missing == []


def test_files_and_folders_are_named() -> None:
    assert {"core/", "local/", "heroku/", "cli/", "docs/", "tests/", "tools/"} <= set(named_paths(README))
    assert "heroku/schema.sql" in named_paths(PAGES["heroku/README.md"])


def make_targets(page: Page) -> set[str]:
    return {name for line in page.commands() for name in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)(?![\w<-])", line)}


@every_page
def test_make_targets_exist(page: Page) -> None:
    assert {name for name in make_targets(page) - targets() if not is_history(page, name)} == set()


def test_make_targets_are_named() -> None:
    assert {"run", "send", "events", "test", "bench"} <= make_targets(README)
    assert {"test-core", "campaign", "check", "format"} <= make_targets(PAGES["CONTRIBUTING.md"])
    for folder in ADAPTER_FOLDERS:
        if (folder / "package.toml").exists():
            name = tomllib.loads((folder / "package.toml").read_text())["name"]
            assert f"package-{name}" in targets()
            assert {f"package-{name}", f"deploy-{name}"} & make_targets(PAGES[f"{folder.name}/README.md"]), folder


@pytest.mark.parametrize("folder", ADAPTER_FOLDERS, ids=lambda folder: folder.name)
def test_adapter_has_a_page(folder: Path) -> None:
    assert {f"{folder.name}/README.md", f"docs/{folder.name}.md"} & PAGES.keys()


READMES = [f"{folder.name}/README.md" for folder in ADAPTER_FOLDERS if f"{folder.name}/README.md" in PAGES]


@pytest.mark.parametrize("name", READMES)
def test_every_platform_has_the_same_headings(name: str) -> None:
    prose = PAGES[name].prose
    assert re.findall(r"^## (.*)$", prose, re.MULTILINE) == HEADINGS
    below = re.split(r"^## .*$", prose, flags=re.MULTILINE)[1:]
    assert all(text.strip() for text in below)


DEPLOYED = {name: folder for name, folder in clouds().items() if f"{folder}/README.md" in PAGES}


@pytest.mark.parametrize("name", DEPLOYED)
def test_secret_is_rotated_and_the_first_event_sent_by_a_command(name: str) -> None:
    page = PAGES[f"{DEPLOYED[name]}/README.md"]
    commands = [line for text in page.of("sh", "Rotate the secret") for line in text.splitlines()]
    begin, finish = (line for line in commands if line.startswith(f"make rotate-secret-{name}"))
    assert "--show" in begin
    assert "--finish" in finish
    assert any(line.startswith(f"make first-event-{name}") for line in page.commands())
    # No JSON of secrets is written by hand.
    assert not any(re.search(r"""\[\\?"(\$|%s)""", block.text) for block in page.blocks)


@pytest.mark.parametrize("name", DEPLOYED)
def test_at_most_eight_lines_lead_to_the_first_event(name: str) -> None:
    """Those that log in, and two that are complete as they are printed."""
    blocks = [block for block in PAGES[f"{DEPLOYED[name]}/README.md"].blocks if block.language == "sh"]
    logins = [line for block in blocks if block.heading == "Before you start" for line in block.text.splitlines()]
    lines = [line for block in blocks for line in block.text.splitlines()]
    assert lines.index(f"make deploy-{name}") < lines.index(f"make first-event-{name}")
    assert len(logins) <= 6


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


COMMANDS = [[name] for name in ("send", "events", "readings", "latest", "tail", "check", "mirror", "export")]


def dtconn(line: str) -> list[str] | None:
    """Return the arguments of dtconn in a command of dtconn or make; None for other commands."""
    try:
        words = shlex.split(line.partition(" > ")[0])
    except ValueError:
        return None
    if words[:1] in (["dtconn"], [".venv/bin/dtconn"]) and words[1:2] in COMMANDS:
        return words[1:]
    if words[:1] == ["make"] and words[1:2] in COMMANDS:
        given = [word.removeprefix("ARGS=") for word in words[2:] if word.startswith("ARGS=")]
        return [words[1], *(word for text in given for word in shlex.split(text))]
    return None


def test_options_of_dtconn_exist() -> None:
    found = [(page.name, words) for page in PAGES.values() for line in page.commands() if (words := dtconn(line))]
    assert {name for name, _ in found} >= {"README.md", "heroku/README.md", "docs/settings.md"}
    helps = {
        name: set(re.findall(r"--?[\w-]+", CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output))
        for [name] in COMMANDS
    }
    for name, words in found:
        unknown = {word for word in words[1:] if word.startswith("-")} - helps[words[0]]
        assert not unknown, f"{name}: {words}"


# ---- README.md -------------------------------------------------------------------------------------------------------


def test_each_promise_names_an_existing_test() -> None:
    rows = README.table("promise", "tested by")
    assert len(rows) == 12
    for _, held_by in rows:
        links = re.findall(r"\[(\w+)\]\((tests/[\w/]+\.py)\)", held_by)
        assert links
        for name, file in links:
            nodes = ast.walk(ast.parse((ROOT / file).read_text()))
            assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_the_table_of_answers_has_each_status_that_the_receiver_gives() -> None:
    rows = README.table("situation", "stored", "answer")
    sources = [
        inspect.getsource(receiver),
        *(path.read_text() for folder in ADAPTER_FOLDERS for path in folder.glob("*.py")),
    ]
    statuses = {200, *map(int, re.findall(r"\bproblem\(\s*(\d{3}),", "".join(sources)))}
    assert {int(answer) for _, _, answer in rows} == statuses
    assert all(answer == "200" for _, stored, answer in rows if stored.startswith("yes"))
    (limit,) = (situation for situation, _, answer in rows if answer == "413")
    assert limit == f"body above {receiver.MAX_BODY // 1024} KiB"
    assert f"Each answer comes in {receiver.DEADLINE:.0f} s at most" in README.prose


def run(args: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run dtconn in the folder where `make` does, without other settings."""
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
    """Run the commands of README.md in order, and its queries, against a new receiver."""
    first, second = README.of("sh", "Try it")
    assert first.strip() == "make run"
    with running("local", {}, tmp_path) as program:
        sent, listed = (run(on(program.port, line), tmp_path).stdout for line in second.splitlines())
        says, table = README.of("text", "Try it")
        assert [shape(line) for line in says.splitlines()] == [shape(line) for line in sent.splitlines()]
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
        assert connection.execute(statement).fetchall() or not statement.startswith("SELECT"), statement
    connection.close()
    assert "var/signature-secret" in README.spans
    assert (tmp_path / "var" / "signature-secret").exists()


def on(port: int, line: str) -> list[str]:
    """Return dtconn's arguments with the receiver's port."""
    words = dtconn(line)
    assert words, line
    return [*words, f"http://127.0.0.1:{port}"] if words[0] == "send" else words


def shape(line: str) -> list[str]:
    """Return a line without its variable parts."""
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", line)
    line = re.sub(r"[0-9a-v]{20}\.(\w+)\.\S+", r"KEY.\1", line)
    line = re.sub(r"\b\d+\.\d s\b", "DELAY", line)
    line = re.sub(r"\b[\d.,]+ (ms|events/s)", r"NUMBER \1", line)
    return re.sub(r"emu[0-9a-v]{20}", "DEVICE", line).split()


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
