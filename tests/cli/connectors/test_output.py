"""What holds for every command: help and completion without secrets, plain output, stable exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.connectors import client, status
from cli.main import app
from cli.output import CLOSED
from tests.cli.connectors.conftest import Dtconn, Receiver, environment
from tests.support.desk import SECRET
from tests.support.dt_cloud import DEVELOPER, DtCloud
from tests.support.forks import start
from tests.support.pages import PAGES
from tests.support.processes import ROOT

COMMANDS = [
    *("connect", "status", "doctor", "watch", "enable", "disable", "sync", "disconnect", "backfill"),
    *("rotate-secret", "first-event"),
]
SECRETS = {
    "DT_API_KEY_SECRET": "hidden-key-of-the-account",
    "DT_SIGNATURE_SECRET": "hidden-secret-of-the-connector",
    "DTCONN_WEBHOOK": "https://example.com/hidden-webhook",
    "DT_DATABASE": "postgres://user:hidden@host/name",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_no_value_of_the_environment(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={**SECRETS, "COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"dtconn {command}" in result.output
    assert {"--json", "--quiet"} <= set(re.findall(r"--[\w-]+", result.output))
    assert "hidden" not in result.output


def complete(tmp_path: Path, shell: str, words: str) -> str:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), **SECRETS}
    environ |= {"_DTCONN_COMPLETE": f"complete_{shell}"}
    environ |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    environ |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environ["_TYPER_COMPLETE_WORD_TO_COMPLETE"] = words.rpartition(" ")[2]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_options_and_tells_no_value(tmp_path: Path, shell: str) -> None:
    assert "disconnect" in complete(tmp_path, shell, "dtconn dis")
    for words in (
        "dtconn connect --",
        "dtconn connect --secret ",
        "dtconn watch --webhook ",
        "dtconn backfill --from ",
    ):
        assert "hidden" not in complete(tmp_path, shell, words)


def test_output_without_a_terminal_is_plain(dtconn: Dtconn, receiver: Receiver) -> None:
    for arguments in (["connect", receiver.url], ["status"], ["doctor"], ["disable", "--yes"], ["status"], ["enable"]):
        assert "\x1b" not in dtconn(*arguments).output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",), ("status", "--help"), ("status",), ("status", "--json"), ("doctor",), ("connect", "{url}"),
        ("connect", "{url}", "--dry-run"), ("watch", "--once"), ("sync", "--wait", "0"), ("disable", "--yes"),
        ("disable", "--yes", "--json"), ("enable",), ("backfill", "--since", "1h", "--to", "sqlite:new.db"),
        ("disconnect", "{url}", "--confirm", "dtconn"), ("rotate-secret", "local", "--url", "{url}", "--watch", "0"),
        ("first-event", "local", "--url", "{url}"), ("send", "{url}"), ("events",), ("events", "--json"),
        ("readings", "--csv"), ("latest",), ("tail",), ("check", "--silent", "1h"), ("cloud", "--help"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_closed_output_ends_it_quietly(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for preparation in ("connect", "send"):
        assert dtconn(preparation, receiver.url).exit_code == 0
    if arguments[0] in ("watch", "enable"):
        dtconn("disable", "--yes")
    environ = environment(cloud, DEVELOPER) | {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": str(receiver.store)}
    (tmp_path / "var").mkdir()
    (tmp_path / "var/signature-secret").write_text(SECRET)
    process = start([each.format(url=receiver.url) for each in arguments], environ, tmp_path, unread=True)
    process.join(60)
    assert (process.exitcode, (tmp_path / "output").read_text()) == (141, "")


def test_exit_codes_are_those_of_the_page() -> None:
    rows = PAGES["docs/lifecycle.md"].table("exit code", "meaning")
    assert [int(code) for code, _ in rows] == [
        status.WELL, status.ILL, status.UNKNOWN, client.REFUSED, client.NOT_FOUND, client.LATER, 130, CLOSED,
    ]  # fmt: skip


def test_the_page_names_each_command_and_only_existing_options() -> None:
    page = PAGES["docs/lifecycle.md"]
    lines = [line for line in [*page.spans, *page.commands()] if line.startswith("dtconn ")]
    assert {line.split()[1] for line in lines} >= set(COMMANDS)
    for line in lines:
        command, *words = line.split()[1:]
        if command in COMMANDS:
            found = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
            options = set(re.findall(r"--?[\w-]+", found))
            assert {word for word in words if word.startswith("--")} <= options, line
