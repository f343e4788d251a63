"""What the documentation says is so: its commands, queries, settings, tables, samples and links."""

import ast
import asyncio
import io
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from typer.testing import CliRunner

from cli.bodies import Device
from cli.main import app
from core import receiver
from core.event import Event, reread
from core.http import Response
from core.log import Log
from core.settings import Settings, SettingsError
from core.signature import REASONS, Policy
from local.app import DATABASE
from tests.support.deliveries import ORGANIZATION, SECRET, body
from tests.support.processes import ROOT, running

if sys.platform == "win32":
    pytest.skip("the commands are for a POSIX shell", allow_module_level=True)

NOW = datetime.now(UTC).replace(microsecond=0)


class Block(NamedTuple):
    """A fenced block of a page."""

    heading: str
    language: str
    text: str


class Page:
    """One Markdown file, taken apart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()
        self.text = path.read_text()
        self.blocks: list[Block] = []
        self.headings: list[str] = []
        prose: list[str] = []
        lines: list[str] = []
        fence: str | None = None
        for line in self.text.splitlines():
            if line.startswith("```"):
                if fence is not None:
                    self.blocks.append(Block(self.headings[-1], fence, "\n".join(lines) + "\n"))
                fence, lines = (line[3:], []) if fence is None else (None, [])
            elif fence is not None:
                lines.append(line)
            else:
                prose.append(line)
                if match := re.match(r"#+ (.*)", line):
                    self.headings.append(match[1])
        assert fence is None, f"{self.name}: a block without end"
        self.prose = "\n".join(prose)
        self.spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    def of(self, language: str, heading: str | None = None) -> list[str]:
        """Return the texts of the blocks in a language, below a heading if one is given; there must be one."""
        found = [
            block.text
            for block in self.blocks
            if block.language == language and (heading is None or block.heading == heading)
        ]
        assert found, f"{self.name} has no {language} block below {heading}"
        return found

    def table(self, *header: str) -> list[list[str]]:
        """Return the rows of the table that has this header."""
        lines = iter(self.prose.splitlines())
        for line in lines:
            if _cells(line) == list(header):
                next(lines)
                rows = []
                for row in lines:
                    if not row.startswith("|"):
                        break
                    rows.append(_cells(row))
                    assert len(rows[-1]) == len(header), row
                return rows
        raise AssertionError(f"{self.name} has no table {header}")

    def commands(self) -> list[str]:
        """Return the lines of its shell blocks, without comments, and the code in its prose."""
        lines = [line for block in self.blocks if block.language == "sh" for line in block.text.splitlines()]
        return [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines] + self.spans


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []


def _pages() -> dict[str, Page]:
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and (folder / "README.md").exists()]
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(folder / "README.md" for folder in folders)]
    return {page.name: page for page in map(Page, sorted(paths))}


PAGES = _pages()
README, HEROKU, SETTINGS, PROTOCOL = (
    PAGES[name] for name in ("README.md", "heroku/README.md", "docs/settings.md", "docs/protocol.md")
)
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
FOLDERS = (".ci", "bench", "cli", "core", "docs", "heroku", "local", "requirements", "tests", "tools")


def named_paths(page: Page) -> list[str]:
    words = [span for span in page.spans if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", span)]
    return [word for word in words if word.split("/")[0] in FOLDERS]


@every_page
def test_files_and_folders_exist(page: Page) -> None:
    # CONTRIBUTING.md speaks of requirements without their suffixes.
    missing = [path for path in named_paths(page) if not (ROOT / path).exists() and not (ROOT / f"{path}.in").exists()]
    assert missing == []


def test_files_and_folders_are_named() -> None:
    assert {"core/", "local/", "heroku/", "cli/", "docs/", "tests/", "tools/"} <= set(named_paths(README))
    assert "heroku/schema.sql" in named_paths(HEROKU)


def make_targets(page: Page) -> set[str]:
    return {name for line in page.commands() for name in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)(?![\w<-])", line)}


@every_page
def test_make_targets_exist(page: Page) -> None:
    existing = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert make_targets(page) <= existing


def test_make_targets_are_named() -> None:
    assert {"run", "send", "events", "test", "test-core", "bench", "package-heroku"} <= make_targets(README)


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
    assert len(rows) == 8
    for _, held_by in rows:
        links = re.findall(r"\[(\w+)\]\((tests/[\w/]+\.py)\)", held_by)
        assert links
        for name, file in links:
            nodes = ast.walk(ast.parse((ROOT / file).read_text()))
            assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_the_table_of_answers_has_each_status_that_the_receiver_gives() -> None:
    rows = README.table("situation", "stored", "answer")
    statuses = {value.status for value in vars(receiver).values() if isinstance(value, Response)}
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
    for statement in statements(README):
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


def statements(page: Page) -> list[str]:
    return [one.strip() for text in page.of("sql") for one in text.split(";") if one.strip()]


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
    return name.strip("_") == "environ"


def test_each_variable_that_is_read_is_listed_and_no_other() -> None:
    files = [file for folder in ("core", "local", "heroku", "cli") for file in (ROOT / folder).rglob("*.py")]
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
    assert {name for name, _ in examples} >= set(VARIABLES) - {"DT_JWKS", "DATABASE_URL", "PORT", "HOST"}
    for name, value in examples:
        Settings.load(({} if value == "unsigned" else BOTH) | {name: value})
    several = [value for _, value in examples if value.startswith("[")]
    assert len(several) >= 3
    assert VARIABLES["DT_DATABASE"][0] == f"`{DATABASE}`"
    # The examples of the table give no warning, such as of a short secret or an unknown event type.
    for name, row in VARIABLES.items():
        if row[2].startswith("`"):
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
    event = reread(content.encode(), NOW)
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
    event = reread(body(), NOW) if "key" in shown else None
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


# ---- heroku/README.md ------------------------------------------------------------------------------------------------


def test_its_queries_and_what_they_leave(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    from heroku.postgres import PostgresStore
    from tests.support.postgres import execute

    url = server.create_database()
    kept, old = device_events("emu00000000000000000aa", hours=3), device_events("emu00000000000000000bb", days=100)
    gone = device_events("emu00000000000000000aa", days=100)
    failing = kept[0].key

    async def fill() -> None:
        store = PostgresStore(url)
        await asyncio.gather(*(store.put(event, time.monotonic() + 8) for event in kept + old + gone))
        await store.close()

    asyncio.run(fill())
    execute(url, f"UPDATE events SET attempts = 5 WHERE key = '{failing}'")
    found = {statement: execute(url, statement) for statement in statements(HEROKU)}
    queries = [statement for statement in found if statement.startswith("SELECT")]
    assert len(queries) >= 6
    for statement in queries:
        assert found[statement], statement
    (dead,) = (rows for statement, rows in found.items() if "attempts >= 5" in statement and rows)
    assert [row["key"] for row in dead] == [failing]
    assert execute(url, "SELECT key FROM events WHERE attempts > 0") == []
    # The newest of each type of the device that is silent, and all that is young.
    newest = {event.event_type: event.key for event in sorted(old, key=lambda event: event.received_at)}
    left = {row["key"] for row in execute(url, "SELECT key FROM events")}
    assert left == {event.key for event in kept} | set(newest.values())
    assert execute(url, "SELECT 1 FROM latest WHERE device_id = 'emu00000000000000000bb'")


def device_events(device_id: str, hours: int = 0, days: int = 0) -> list[Event]:
    """Return some events of two types that arrived so long ago, an hour apart."""
    device = Device(device_id, "ccol8iuk9smqiha4e8l0")
    times = [NOW - timedelta(hours=hours + number, days=days) for number in range(3)]
    return [reread(device.body(name, moment), moment) for moment in times for name in ("temperature", "networkStatus")]


def test_the_columns_that_it_lists_are_those_of_the_view(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    (listed,) = re.findall(r"Columns: (.*?)\.\n", HEROKU.prose, re.DOTALL)
    rows = server.execute(
        server.create_database().rpartition("/")[2],
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'readings' ORDER BY ordinal_position",
    )
    assert re.findall(r"`(\w+)`", listed) == [row["column_name"] for row in rows]


# Stands in for Heroku's command line: says what it was told, knows one secret, and has a repository to push to.
FAKE_HEROKU = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case $1 in
config:get) echo "$OLD_SECRET" ;;
git:remote) git remote add heroku "$REMOTE" ;;
esac
"""


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Give what runs a script in a folder, with the heroku above, and returns what that was told."""
    for program in ("git", "make", "openssl"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: install it")
    fake = tmp_path / "bin" / "heroku"
    fake.parent.mkdir()
    fake.write_text(FAKE_HEROKU)
    fake.chmod(0o755)
    calls = tmp_path / "calls"
    environ = {
        "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHON": sys.executable,
        "CALLS": str(calls),
        "REMOTE": str(tmp_path / "remote.git"),
        "OLD_SECRET": SECRET,
        **{f"GIT_{who}_{what}": "tests" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    def run(script: str, folder: Path = tmp_path) -> list[str]:
        done = subprocess.run(
            ["sh", "-eu"],
            input=script,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return calls.read_text().splitlines()

    return run


def secret_set(call: str) -> Settings:
    """Load what config:set was told."""
    match = re.fullmatch(r"config:set (DT_SIGNATURE_SECRET)=(.*) --app APP", call)
    assert match, call
    return Settings.load({match[1]: match[2]})


def test_the_first_commands_make_a_secret_that_is_long_enough(shell: Any) -> None:
    login, create, add, secret = shell(*HEROKU.of("sh", "1. An app, a database, a secret"))
    assert login == "login"
    assert create == "create APP --no-remote"
    plans = [addon["plan"] for addon in json.loads((ROOT / "heroku/app.json").read_text())["addons"]]
    assert add == f"addons:create {plans[0]} --wait --app APP"
    settings = secret_set(secret)
    assert settings.warnings == ()
    assert len(settings.verifier.secrets[0]) == 64


def test_the_package_is_pushed_as_a_repository_of_its_own(shell: Any, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("core", "heroku", "tools"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=ignored)
    for file in ("Makefile", "LICENSE"):
        shutil.copy(ROOT / file, checkout)
    shell('git init --quiet --bare "$REMOTE"; heroku login')
    script, *_ = HEROKU.of("sh", "2. Deploy")
    assert shell(script, checkout)[1:] == ["git:remote --app APP", "ps:type basic --app APP"]
    # What is pushed once more, after a change, as the page says of a new version.
    (checkout / "heroku" / "worker.py").write_text("# Another\n")
    again = [
        line for line in script.splitlines() if line.startswith(("make ", "cd ", "git add", "git commit", "git push"))
    ]
    shell("\n".join(again), checkout)
    git = ["git", "--git-dir", str(tmp_path / "remote.git")]
    names = subprocess.run([*git, "ls-tree", "--name-only", "main"], capture_output=True, text=True, check=True)
    assert {"Procfile", "requirements.txt", "app.json", ".python-version", "core", "heroku"} <= set(
        names.stdout.split()
    )
    log = subprocess.run([*git, "log", "--oneline", "main"], capture_output=True, text=True, check=True)
    assert len(log.stdout.splitlines()) == 2
    worker = subprocess.run([*git, "show", "main:heroku/worker.py"], capture_output=True, text=True, check=True)
    assert worker.stdout == "# Another\n"


def test_the_secret_is_changed_without_a_gap(shell: Any) -> None:
    both, new, _ = HEROKU.of("sh", "Change the secret")
    _, first, second = shell(both + new)
    changing, changed = secret_set(first), secret_set(second)
    assert changing.warnings == changed.warnings == ()
    assert changing.verifier.secrets == (*changed.verifier.secrets, SECRET.encode())
    assert changed.verifier.secrets != (SECRET.encode(),)
