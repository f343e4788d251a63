"""deploy/code_engine.sh, run by each shell that is here, with a stand-in for the IBM Cloud CLI.

The stand-in records each call and answers as `ibmcloud` would, of an account that has what a test says it has. What is
not validated: whether the real one knows these commands and options, and what a name that it does not know would do.
"""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.receiver import DEADLINE
from core.settings import Settings
from tests.support.ibm_tools import needs_tools, tool

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "ibm_actions" / "deploy" / "code_engine.sh"
SECRET = "a signature secret, of 32 and more characters"
HOST = "abc-bluemix.cloudantnosqldb.appdomain.cloud"

SHELLS = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "zsh": ["zsh", "--emulate", "sh"],
}
# Each once: sh is one of the others.
FOUND = list(
    {
        os.path.realpath(path): name
        for name, command in SHELLS.items()
        if (path := shutil.which(command[0])) is not None
    }.values()
)

# In place of the IBM Cloud CLI. Its account is a JSON list of what there is; what is made is there afterwards.
STAND_IN = r"""
import json, os, sys

folder = os.path.dirname(__file__)
argv = sys.argv[1:]
with open(f"{folder}/account.json") as file:
    account = set(json.load(file))
option = lambda name: argv[argv.index(name) + 1] if name in argv else None
# As a command does that asks whether one is sure.
call = {"argv": argv, "has_secret": "DT_SIGNATURE_SECRET" in os.environ, "read": sys.stdin.read()}
if option("--from-file"):
    key, _, path = option("--from-file").partition("=")
    with open(path) as file:
        call |= {"key": key, "content": file.read(), "mode": oct(os.stat(path).st_mode & 0o777), "path": path}
with open(f"{folder}/calls", "a") as file:
    file.write(json.dumps(call) + "\n")

def answer(value=None, made=None):
    if made:
        with open(f"{folder}/account.json", "w") as file:
            json.dump(sorted(account | {made}), file)
    if value is not None:
        print(value if isinstance(value, str) else json.dumps(value, indent=4))
    sys.exit(0)

def there(what, value=None):
    if what not in account:
        print("FAILED\nThere is no " + what, file=sys.stderr)
        sys.exit(1)
    answer(value)

HOST = "abc-bluemix.cloudantnosqldb.appdomain.cloud"
crn = "crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-GUID::"
instance = {
    "id": "crn:v1:bluemix:public:cloudantnosqldb:eu-de:a/1:CLOUDANT-GUID::",
    "guid": "CLOUDANT-GUID",
    "state": "active",
    "plan_history": [{"resource_plan_id": "standard", "start_date": "2026-11-01T00:00:00.000Z"}],
    "extensions": {"endpoints": {"private": "private." + HOST, "public": HOST}},
}
name = option("--name")
start = " ".join(it for it in argv if not it.startswith("-"))
if any(it.startswith("fails ") and start.startswith(it[6:]) for it in account):
    print("FAILED\nSomething that ibmcloud says.", file=sys.stderr)
    sys.exit(1)
match argv[:3]:
    case ["plugin", "show", "code-engine"]:
        there("plug-in")
    case ["account", "show", *_]:
        there("login")
    case ["target", *_]:
        answer("Targeted region eu-de")
    case ["ce", "project", "get"]:
        there("project", {"name": name, "guid": "PROJECT-GUID", "id": crn, "crn": crn})
    case ["ce", "project", "create"]:
        answer("Creating project...", "project")
    case ["ce", "project", "select"]:
        there("project", "Selecting project...")
    case ["ce", "secret", "get"]:
        there("secret", "DT_SIGNATURE_SECRET: ZW5jb2RlZA==")
    case ["ce", "secret", "create" | "update"]:
        answer("Creating secret...", "secret")
    case ["resource", "service-instance", which]:
        if which == "several":
            answer([instance, instance | {"guid": "ANOTHER"}])
        if which == "object-storage":
            answer([instance | {"id": "crn:v1:bluemix:public:cloud-object-storage:global:a/1:G::"}])
        there("cloudant", [instance])
    case ["resource", "service-instance-create", _]:
        answer("Creating service instance...", "cloudant")
    case ["iam", "trusted-profile", _]:
        there("profile", [{"id": "Profile-1234", "entity_tag": "1-a", "crn": "crn:v1:::", "name": "dt-receiver"}])
    case ["iam", "trusted-profile-create", _]:
        answer("Creating trusted profile...", "profile")
    case ["iam", "trusted-profile-policies", _]:
        guid = {"name": "serviceInstance", "value": "CLOUDANT-GUID"}
        answer([{"id": "p", "resources": [{"attributes": [guid]}]}] if "policy" in account else [])
    case ["iam", "trusted-profile-policy-create", _]:
        answer("Creating policy...", "policy")
    case ["iam", "trusted-profile-links", _]:
        answer([{"name": it[5:], "link": {"crn": crn}} for it in account if it.startswith("link ")])
    case ["iam", "trusted-profile-link-create", _]:
        answer("Creating link...", "link " + name)
    case ["ce", "application", "get"] if option("--output") == "url":
        answer("https://" + name + ".xyz.eu-de.codeengine.appdomain.cloud")
    case ["ce", "application" | "function" as kind, "get"]:
        there(kind + " " + name, {
            "name": name,
            "code_reference": "cr://private.de.icr.io/ce--1/function-" + name + ":2",
            "code_secret": "ce-auto-icr-private-eu-de",
            "run_env_variables": [{"name": "DT_CLOUDANT", "type": "literal", "value": "https://" + HOST}],
            "endpoint": "https://" + name + ".xyz.eu-de.codeengine.appdomain.cloud",
        })
    case ["ce", "application" | "function" as kind, "create" | "update"]:
        answer("Submitting build run...", kind + " " + name)
    case ["ce", "buildrun", "submit"]:
        answer("Submitting build run...")
    case ["ce", "buildrun", "get"]:
        secret = "ce-auto-icr-private-eu-de"
        answer({"name": name, "output_image": "private.de.icr.io/ce--1/app:2", "output_secret": secret})
print("The stand-in does not know: " + " ".join(argv), file=sys.stderr)
sys.exit(99)
"""

READY = ["plug-in", "login"]


@dataclass
class Run:
    returncode: int
    output: str
    errors: str
    calls: list[dict[str, Any]]

    def called(self, *start: str) -> list[list[str]]:
        """Return the arguments of the calls that begin so."""
        return [it["argv"] for it in self.calls if it["argv"][: len(start)] == list(start)]

    def one(self, *start: str) -> list[str]:
        (found,) = self.called(*start)
        return found


class Desk:
    """A folder with the stand-in, a staged package, and the account."""

    def __init__(self, folder: Path, shell: Sequence[str]) -> None:
        self.folder = folder
        self.shell = list(shell)
        self.bin = folder / "bin"
        self.bin.mkdir()
        command = self.bin / "ibmcloud"
        command.write_text(f"#!{sys.executable} -IS\n{STAND_IN}")
        command.chmod(0o755)
        self.package = folder / "dist with a space"
        self.package.mkdir()
        for name in ("Dockerfile", "app-requirements.txt", "__main__.py", "requirements.txt"):
            (self.package / name).touch()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.account(READY)

    def account(self, there: Sequence[str]) -> None:
        (self.bin / "account.json").write_text(json.dumps(list(there)))

    def environ(self, **more: str) -> dict[str, str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "TMPDIR": str(self.temporary)} | more

    def run(self, *arguments: str, secret: str = "", typed: str = "", **environ: str) -> Run:
        """Run the script; `secret` is in the environment, `typed` on standard input."""
        (self.bin / "calls").unlink(missing_ok=True)
        if secret:
            environ["DT_SIGNATURE_SECRET"] = secret
        done = subprocess.run(
            [*self.shell, str(SCRIPT), "--region", "eu-de", "--build-source", str(self.package), *arguments],
            cwd="/",
            env=self.environ(**environ),
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Run(done.returncode, done.stdout, done.stderr, self.calls())

    def calls(self) -> list[dict[str, Any]]:
        path = self.bin / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(params=FOUND)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    return Desk(tmp_path, SHELLS[request.param])


def options(argv: Sequence[str], name: str) -> list[str]:
    """Return the values of an option."""
    return [value for key, value in pairwise(argv) if key == name]


def environment(argv: Sequence[str]) -> dict[str, str]:
    return dict(it.split("=", 1) for it in options(argv, "--env"))


# ---- both forms ------------------------------------------------------------------------------------------------------

COMMON = {"DT_CLOUDANT": f"https://{HOST}", "DT_TRUSTED_PROFILE": "Profile-1234"}
URL = "https://dt-receiver.xyz.eu-de.codeengine.appdomain.cloud"


def test_an_application_from_nothing(desk: Desk) -> None:
    done = desk.run(secret=SECRET)

    assert (done.returncode, done.errors) == (0, "")
    assert done.output.splitlines()[-1] == URL
    assert done.one("target") == ["target", "-r", "eu-de"]
    assert done.one("ce", "project", "create") == ["ce", "project", "create", "--name", "dt-receiver"]
    create = done.one("resource", "service-instance-create")
    assert create[2:6] == ["dt-receiver", "cloudantnosqldb", "standard", "eu-de"]
    assert json.loads(options(create, "-p")[0]) == {"legacyCredentials": False}
    app = done.one("ce", "application", "create")
    assert options(app, "--name") == ["dt-receiver"]
    assert options(app, "--build-source") == [str(desk.package)]
    assert "--trusted-profiles-enabled=true" in app
    assert options(app, "--visibility") == ["public"]
    assert DEADLINE < int(options(app, "--request-timeout")[0]) < 10
    assert (options(app, "--cpu"), options(app, "--memory")) == (["0.25"], ["0.5G"])
    assert [options(app, f"--{it}") for it in ("min-scale", "max-scale", "concurrency")] == [["0"], ["10"], ["32"]]
    assert {"type=http", "path=/healthz"} <= set(options(app, "--probe-live"))
    assert environment(app) == COMMON
    assert options(app, "--env-from-secret") == ["dt-receiver-signature:DT_SIGNATURE_SECRET"]
    # What it may be comes before it starts, and names what it is.
    assert done.one("iam", "trusted-profile-policy-create") == [
        *("iam", "trusted-profile-policy-create", "dt-receiver", "--roles", "Manager"),
        *("--service-name", "cloudantnosqldb", "--service-instance", "CLOUDANT-GUID"),
    ]
    link = done.one("iam", "trusted-profile-link-create")
    assert options(link, "--cr-type") == ["CE"]
    assert options(link, "--link-crn") == ["crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-GUID::"]
    assert options(link, "--link-component-type") == ["application"]
    assert options(link, "--link-component-name") == ["dt-receiver"]


def test_a_function_from_nothing(desk: Desk) -> None:
    done = desk.run("--form", "function", secret=SECRET)

    assert (done.returncode, done.errors) == (0, "")
    assert done.output.splitlines()[-1] == URL
    function = done.one("ce", "function", "create")
    assert options(function, "--runtime") == ["python-3.13"]
    assert options(function, "--maxexecutiontime") == ["120"], "the longest there is: a 299 is a receipt"
    assert "--trusted-profiles-enabled=true" in function
    assert (options(function, "--cpu"), options(function, "--memory")) == (["0.25"], ["1G"])
    assert environment(function) == COMMON
    assert options(function, "--env-from-secret") == ["dt-receiver-signature:DT_SIGNATURE_SECRET"]
    applications_only = {"--port", "--user", "--request-timeout", "--probe-live", "--build-strategy", "--min-scale"}
    assert applications_only & set(function) == set()
    assert options(done.one("iam", "trusted-profile-link-create"), "--link-component-type") == ["function"]
    assert done.called("ce", "application") == []


@pytest.mark.parametrize("form", ["application", "function"])
def test_a_second_run_changes_what_is_there_and_makes_nothing(desk: Desk, form: str) -> None:
    assert desk.run("--form", form, secret=SECRET).returncode == 0
    done = desk.run("--form", form)

    assert (done.returncode, done.errors) == (0, "")
    assert done.output.splitlines()[-1] == URL
    assert [it["argv"] for it in done.calls if {"create", "service-instance-create"} & set(it["argv"])] == []
    assert [it["argv"] for it in done.calls if it["argv"][1].endswith("-create")] == []
    assert done.called("ce", "secret", "update") == [], "a secret stays as it is unless one asks"
    update = done.one("ce", form, "update")
    assert environment(update) == COMMON
    # What was chosen once is not set back.
    assert {"--cpu", "--memory", "--min-scale", "--max-scale", "--concurrency"} & set(update) == set()


def test_the_application_runs_as_the_user_of_its_image(desk: Desk) -> None:
    dockerfile = (ROOT / "ibm_actions" / "Dockerfile").read_text()
    app = desk.run(secret=SECRET).one("ce", "application", "create")
    assert options(app, "--user") == re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)


def test_what_is_there_under_other_names(desk: Desk) -> None:
    desk.account([*READY, "project", "cloudant"])
    done = desk.run(
        *("--name", "dt-two", "--project", "shared", "--cloudant", "events", "--resource-group", "my group"),
        *("--min-scale", "1", "--max-scale", "3", "--concurrency", "8", "--cpu", "0.5", "--memory", "1G"),
        secret=SECRET,
    )

    assert done.returncode == 0, done.errors
    assert done.one("target") == ["target", "-r", "eu-de", "-g", "my group"]
    assert done.one("ce", "project", "select") == ["ce", "project", "select", "--name", "shared"]
    assert done.called("resource", "service-instance-create") == []
    app = done.one("ce", "application", "create")
    values = [options(app, f"--{it}") for it in ("min-scale", "max-scale", "concurrency", "cpu", "memory")]
    assert values == [["1"], ["3"], ["8"], ["0.5"], ["1G"]]
    assert options(app, "--env-from-secret") == ["dt-two-signature:DT_SIGNATURE_SECRET"]
    assert done.one("iam", "trusted-profile-create")[2] == "dt-two"


def test_another_link_of_the_profile_does_not_pass_for_this_one(desk: Desk) -> None:
    assert desk.run(secret=SECRET).returncode == 0
    done = desk.run("--form", "function")
    assert options(done.one("iam", "trusted-profile-link-create"), "--name") == ["function-dt-receiver"]


SETTINGS = {
    "DT_ORGANIZATION_ID": '["one","two"]',
    "DT_SIGNATURE_POLICY": "both",
    "DT_ACCEPT_EXPIRED_FOR": "46800",
    "DT_EVENT_TYPES": "temperature",
    "DT_PROJECT_ID": "ccol8iuk9smqiha4e8l0",
    "DT_DATABASE_PREFIX": "dt",
    "DT_DATABASE_PERIOD": "month",
}


def test_settings_of_the_environment_go_with_it(desk: Desk) -> None:
    done = desk.run(secret=SECRET, **SETTINGS)

    found = environment(done.one("ce", "application", "create"))
    assert found == COMMON | SETTINGS
    # Each is one that the receiver reads, and it takes them.
    assert Settings.load(found | {"DT_SIGNATURE_SECRET": SECRET}) is not None
    source = "".join((ROOT / it).read_text() for it in ("core/settings.py", "ibm_actions/wiring.py"))
    assert all(f'"{name}"' in source for name in [*found, "DT_SIGNATURE_SECRET"])


def test_with_dts_keys_alone_there_is_no_secret(desk: Desk) -> None:
    done = desk.run(DT_SIGNATURE_POLICY="es256", DT_ORGANIZATION_ID="one")

    assert done.returncode == 0, done.errors
    assert done.called("ce", "secret", "create") == []
    assert "--env-from-secret" not in done.one("ce", "application", "create")


# ---- the secret ------------------------------------------------------------------------------------------------------


def holds(done: Run) -> str:
    """Return the secret that Code Engine was given, when it was given well."""
    (call,) = (it for it in done.calls if "content" in it)
    assert (call["key"], call["mode"]) == ("DT_SIGNATURE_SECRET", "0o600")
    assert not Path(call["path"]).exists(), "the file is gone"
    found: str = call["content"]
    assert found not in done.output + done.errors
    assert not any(found in argument for it in done.calls for argument in [*it["argv"], it["read"]])
    return found


@pytest.mark.parametrize("form", ["application", "function"])
def test_the_secret_of_the_environment(desk: Desk, form: str) -> None:
    done = desk.run("--form", form, secret=SECRET)
    assert holds(done) == SECRET
    assert not done.calls[-1]["has_secret"], "no later command inherits it"
    assert list(desk.temporary.iterdir()) == []


@pytest.mark.parametrize("end", ["", "\n", "\nnot this\n"])
def test_the_secret_of_standard_input(desk: Desk, end: str) -> None:
    assert holds(desk.run(typed=SECRET + end)) == SECRET


@pytest.mark.parametrize("secret", [f'["{SECRET}","the one before, also of 32 characters"]', f" \\n{SECRET}$x`y`%s "])
def test_the_secret_goes_as_it_is(desk: Desk, secret: str) -> None:
    assert holds(desk.run(typed=secret + "\n")) == secret


def test_the_secret_of_the_terminal_is_not_shown(desk: Desk) -> None:
    master, terminal = pty.openpty()
    try:
        command = [*desk.shell, str(SCRIPT), "--region", "eu-de", "--build-source", str(desk.package)]
        with subprocess.Popen(
            command, env=desk.environ(), stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as script:
            assert script.stdout is not None
            shown = b""
            while b"(it is not shown): " not in shown:
                read = os.read(script.stdout.fileno(), 4096)
                assert read, shown
                shown += read
            os.write(master, f"{SECRET}\n".encode())
            shown += script.stdout.read()
        os.set_blocking(master, False)
        try:
            echoed = os.read(master, 4096)
        except BlockingIOError:
            echoed = b""
    finally:
        os.close(master)
        os.close(terminal)

    assert script.returncode == 0, shown
    assert SECRET.encode() not in shown + echoed
    assert holds(Run(0, shown.decode(), "", desk.calls())) == SECRET


def test_a_secret_is_changed_when_one_asks(desk: Desk) -> None:
    desk.account([*READY, "project", "secret"])
    assert not any("content" in it for it in desk.run(secret=SECRET).calls)
    done = desk.run("--change-secret", secret=SECRET)
    assert holds(done) == SECRET
    assert done.one("ce", "secret", "update")[3:5] == ["--name", "dt-receiver-signature"]


def test_the_secret_alone(desk: Desk) -> None:
    done = desk.run("--secret-only", "--build-source", "/nowhere", typed=SECRET)

    assert (done.returncode, holds(done)) == (0, SECRET)
    assert done.calls[-1]["argv"][:3] == ["ce", "secret", "create"]
    assert done.called("resource") == done.called("iam") == []


def test_no_secret_at_all_is_refused(desk: Desk) -> None:
    done = desk.run()
    assert done.returncode == 1
    assert "Set DT_SIGNATURE_SECRET, or type it" in done.errors
    assert done.called("ce", "application") == []


def test_a_short_secret_is_said_to_be_short(desk: Desk) -> None:
    done = desk.run(secret="short")
    assert done.returncode == 0
    assert "32 characters" in done.errors


def test_no_file_of_the_secret_stays_when_it_is_not_taken(desk: Desk) -> None:
    desk.account([*READY, "fails ce secret create"])
    done = desk.run(secret=SECRET)
    assert done.returncode == 1
    assert list(desk.temporary.iterdir()) == []
    assert SECRET not in done.output + done.errors


# ---- the build alone -------------------------------------------------------------------------------------------------

PRINTED = {
    "region": "eu-de",
    "project_id": "PROJECT-GUID",
    "registry_secret": "ce-auto-icr-private-eu-de",
}


@pytest.mark.parametrize(
    ("form", "reference"),
    [
        ("application", "private.de.icr.io/ce--1/app:2"),
        ("function", "private.de.icr.io/ce--1/function-dt-receiver-build:2"),
    ],
)
def test_the_build_alone_prints_what_terraform_takes(desk: Desk, form: str, reference: str) -> None:
    done = desk.run("--form", form, "--build-only")

    assert (done.returncode, done.errors) == (0, "")
    printed = dict(re.findall(r'^(\w+) = "(.*)"$', done.output, re.MULTILINE))
    assert printed == PRINTED | {"form": form, "reference": reference}
    variables = (SCRIPT.parent / "terraform" / "variables.tf").read_text()
    assert printed.keys() <= set(re.findall(r'^variable "(\w+)"', variables, re.MULTILINE))
    assert done.called("ce", "secret") == done.called("iam") == done.called("resource") == []
    if form == "application":
        submit = done.one("ce", "buildrun", "submit")
        assert options(submit, "--source") == [str(desk.package)]
        assert "--wait" in submit
    else:
        create = done.one("ce", "function", "create")
        assert options(create, "--visibility") == ["project"], "nobody is to call it"
        assert "--env-from-secret" not in create


# ---- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--form", "job"], "--form is application or function, not job."),
        (["--name", "DT"], "--name DT: a lower-case letter"),
        (["--name", "dt-"], "no hyphen last"),
        (["--name", "d" * 51], "50 characters at most"),
        (["--name"], "--name takes a value: see --help."),
        (["--name", ""], "--name takes a value: see --help."),
        (["--region", "x", "--rebuild"], "--rebuild is not known here: see --help."),
        (["--form", "function", "--min-scale", "1"], "Code Engine scales a function by itself"),
        (["--build-source", "/nowhere"], "make package-ibm"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_is_done(
    desk: Desk, arguments: list[str], complaint: str
) -> None:
    done = desk.run(*arguments, secret=SECRET)
    assert (done.returncode, done.output, done.calls) == (1, "", [])
    assert complaint in done.errors


def test_the_region_has_to_be_said(desk: Desk) -> None:
    done = subprocess.run(
        [*desk.shell, str(SCRIPT)], env=desk.environ(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "ibmcloud regions" in done.stderr


def test_letting_in_everybody_is_refused(desk: Desk) -> None:
    done = desk.run(DT_SIGNATURE_POLICY="unsigned")
    assert (done.returncode, done.calls) == (1, [])
    assert "unset it" in done.errors


def test_no_cli_says_where_to_get_it(desk: Desk) -> None:
    (desk.bin / "ibmcloud").unlink()
    done = desk.run(secret=SECRET)
    assert done.returncode == 1
    assert "Install the IBM Cloud CLI: https://" in done.errors


@pytest.mark.parametrize(
    ("there", "complaint"),
    [(["login"], "ibmcloud plugin install code-engine"), (["plug-in"], "ibmcloud login")],
)
def test_what_the_cli_lacks_is_said(desk: Desk, there: list[str], complaint: str) -> None:
    desk.account(there)
    done = desk.run(secret=SECRET)
    assert done.returncode == 1
    assert complaint in done.errors
    assert done.called("ce") == done.called("target") == []


@pytest.mark.parametrize(
    ("command", "at"),
    [
        ("ce project create", "Code Engine project dt-receiver: making it"),
        ("resource service-instance-create", "Cloudant instance dt-receiver: making it"),
        ("iam trusted-profile-policy-create", "Its role in Cloudant"),
        ("ce application create", "application dt-receiver: create"),
        ("iam trusted-profile-link-create", "Link of the application"),
    ],
)
def test_a_step_that_fails_is_named_and_the_next_run_goes_on(desk: Desk, command: str, at: str) -> None:
    desk.account([*READY, f"fails {command}"])
    done = desk.run(secret=SECRET)

    assert done.returncode == 1
    assert "Something that ibmcloud says." in done.errors
    assert f'It stopped at "{at}' in done.errors
    assert URL not in done.output
    account = json.loads((desk.bin / "account.json").read_text())
    desk.account([it for it in account if not it.startswith("fails")])
    again = desk.run(secret=SECRET)
    assert again.returncode == 0, again.errors
    assert again.output.splitlines()[-1] == URL


@pytest.mark.parametrize(
    ("name", "complaint"), [("several", "Give the id of one"), ("object-storage", "but it is no Cloudant")]
)
def test_an_instance_that_will_not_do_is_refused(desk: Desk, name: str, complaint: str) -> None:
    done = desk.run("--cloudant", name, secret=SECRET)
    assert done.returncode == 1
    assert complaint in done.errors
    assert done.called("iam", "trusted-profile-create") == []


# ---- the script ------------------------------------------------------------------------------------------------------


def test_help_names_every_option_and_has_examples(desk: Desk) -> None:
    done = desk.run("--help")
    assert (done.returncode, done.calls, done.errors) == (0, [], "")
    (loop,) = re.findall(r"^while \[ \$# -gt 0 \]; do$(.*?)^done$", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    parsed = set(re.findall(r"--[a-z-]+", loop))
    assert {"--form", "--build-only", "--secret-only", "--concurrency", "--help"} <= parsed
    assert set(re.findall(r"--[a-z-]+", done.output)) == parsed
    assert max(map(len, done.output.splitlines())) <= 120


def test_the_package_is_found_from_anywhere(desk: Desk) -> None:
    done = subprocess.run(
        [*desk.shell, str(SCRIPT), "--region", "eu-de", "--name", "DT"],
        cwd="/",
        env=desk.environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    default = re.findall(r"^source=\$\(dirname -- \"\$0\"\)/(.*)$", SCRIPT.read_text(), re.MULTILINE)
    assert [(SCRIPT.parent / it).resolve() for it in default] == [ROOT / "dist" / "ibm_actions"]


@needs_tools
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run([tool("shellcheck"), str(SCRIPT)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
