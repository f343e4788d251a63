"""deploy/code_engine.sh, run by each installed shell, with a stand-in for the IBM Cloud CLI."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from core.receiver import DEADLINE
from core.settings import Settings
from tests.support.environments import written
from tests.support.ibmcloud import CRN, HOST, READY, ROOT, SCRIPT, Desk, Run, environment, options
from tests.support.source import strings
from tests.support.tools import Tools

TOOLS = Tools("ibm", "hadolint", "shellcheck")
SECRET = "a signature secret, of 32 and more characters"
COMMON = {"DT_CLOUDANT": f"https://{HOST}", "DT_TRUSTED_PROFILE": "Profile-1234"}
URL = "https://dt-receiver.xyz.eu-de.codeengine.appdomain.cloud"
# Created resources and their options. Names never change: a new name is a new resource, with another URL.
# The role is in the one instance, and of the one component.
MADE = {
    "ce project create": "--name dt-receiver",
    "ce secret create": "--name dt-receiver-signature",
    "iam trusted-profile-policy-create dt-receiver": "--roles Manager --service-name cloudantnosqldb "
    "--service-instance CLOUDANT-GUID",
    "iam trusted-profile-link-create dt-receiver": f"--name FORM-dt-receiver --cr-type CE --link-crn {CRN} "
    "--link-component-type FORM --link-component-name dt-receiver",
    "ce FORM create": "--name dt-receiver --visibility public --cpu 0.25 "
    "--env-from-secret dt-receiver-signature:DT_SIGNATURE_SECRET",
}
OF_FORM = {
    "application": "--memory 0.5G --min-scale 0 --max-scale 10 --concurrency 32",
    # The longest time there is: a 299 is a receipt.
    "function": "--memory 1G --maxexecutiontime 120 --runtime python-3.13",
}
APPLICATIONS_ONLY = {"--port", "--user", "--request-timeout", "--probe-live", "--build-strategy", "--min-scale"}


def has(argv: list[str], expected: str) -> bool:
    words = expected.split(" ")
    return all(options(argv, name) == [value] for name, value in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize("form", OF_FORM)
def test_names_and_permissions_of_created_resources(desk: Desk, form: str) -> None:
    done = desk.run("--form", form, secret=SECRET)
    assert (done.returncode, done.errors) == (0, "")
    assert done.output.splitlines()[-1] == URL
    assert f"cloudant:https://{HOST}/events" in done.output.splitlines()
    for command, expected in MADE.items():
        argv = done.one(command.replace("FORM", form))
        assert has(argv, expected.replace("FORM", form)), argv
    instance = done.one("resource service-instance-create dt-receiver cloudantnosqldb standard eu-de")
    assert json.loads(options(instance, "-p")[0]) == {"legacyCredentials": False}
    receiver = done.one(f"ce {form} create")
    assert has(receiver, OF_FORM[form])
    assert options(receiver, "--build-source") == [str(desk.package)]
    assert "--trusted-profiles-enabled=true" in receiver
    assert environment(receiver) == COMMON
    if form == "function":
        assert APPLICATIONS_ONLY & set(receiver) == set()
        return
    assert DEADLINE < int(options(receiver, "--request-timeout")[0]) < 10
    assert {"type=http", "path=/healthz"} <= set(options(receiver, "--probe-live"))
    dockerfile = (ROOT / "ibm_actions" / "Dockerfile").read_text()
    assert options(receiver, "--user") == re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)


@pytest.mark.parametrize("form", OF_FORM)
def test_second_run_updates_and_creates_nothing(desk: Desk, form: str) -> None:
    assert desk.run("--form", form, secret=SECRET).returncode == 0
    done = desk.run("--form", form)
    assert (done.returncode, done.errors) == (0, "")
    assert done.output.splitlines()[-1] == URL
    assert [it["argv"] for it in done.calls if any(word.endswith("create") for word in it["argv"][:3])] == []
    assert done.called("ce secret update") == [], "a secret stays as it is unless one asks"
    update = done.one(f"ce {form} update")
    assert environment(update) == COMMON
    # Chosen options are not reset.
    assert {"--cpu", "--memory", "--min-scale", "--max-scale", "--concurrency"} & set(update) == set()


def test_existing_resources_and_given_sizes_are_used(desk: Desk) -> None:
    desk.account([*READY, "project", "cloudant"])
    sizes = "--min-scale 1 --max-scale 3 --concurrency 8 --cpu 0.5 --memory 1G"
    names = ("--name", "dt-two", "--project", "shared", "--cloudant", "events", "--resource-group", "my group")
    done = desk.run(*names, *sizes.split(), secret=SECRET)
    assert done.one("target -r") == ["target", "-r", "eu-de", "-g", "my group"]
    assert options(done.one("ce project select"), "--name") == ["shared"]
    assert done.called("resource service-instance-create") == []
    app = done.one("ce application create")
    assert has(app, sizes)
    assert options(app, "--env-from-secret") == ["dt-two-signature:DT_SIGNATURE_SECRET"]


def test_settings_from_the_environment_are_passed_on(desk: Desk) -> None:
    names = ("DT_EVENT_TYPES", "DT_PROJECT_ID", "DT_DATABASE_PREFIX", "DT_ORGANIZATION_ID")
    more = {"DT_SIGNATURE_POLICY": "both", "DT_ACCEPT_EXPIRED_FOR": "46800", "DT_DATABASE_PERIOD": "month"}
    found = environment(desk.run(secret=SECRET, **dict.fromkeys(names, "one"), **more).one("ce application create"))
    assert found == COMMON | dict.fromkeys(names, "one") | more
    # Each is one that the receiver reads, and it takes them.
    assert Settings.load(found | {"DT_SIGNATURE_SECRET": SECRET}) is not None
    assert found.keys() <= strings("DT_[A-Z_]+", "core/settings.py", "ibm_actions/wiring.py")


def given_secret(done: Run) -> str:
    """Return the secret that Code Engine received: in a private file, never in an argument or the log."""
    (call,) = (it for it in done.calls if "content" in it)
    assert (call["key"], call["mode"]) == ("DT_SIGNATURE_SECRET", "0o600")
    assert not Path(call["path"]).exists(), "the file is gone"
    later = done.calls[done.calls.index(call) + 1 :]
    assert not any(it["has_secret"] for it in later), "no later command inherits it"
    found: str = call["content"]
    assert found not in done.output + done.errors
    assert not any(found in argument for it in done.calls for argument in [*it["argv"], it["read"]])
    return found


@pytest.mark.parametrize("form", OF_FORM)
@pytest.mark.parametrize(
    ("secret", "typed"),
    [
        (SECRET, None),  # in the environment
        *((SECRET, SECRET + end) for end in ("", "\n", "\nnot this\n")),
        *((it, f"{it}\n") for it in (f'["{SECRET}","the one before, also of 32 characters"]', f" \\n{SECRET}$x`y`%s ")),
    ],
)
def test_secret_is_passed_unchanged(desk: Desk, form: str, secret: str, typed: str | None) -> None:
    given = {"typed": typed} if typed is not None else {"secret": secret}
    asked = ["--change-secret"] if typed is not None else []
    assert given_secret(desk.run("--form", form, *asked, **given)) == secret
    assert list(desk.temporary.iterdir()) == []


def test_secret_typed_in_a_terminal_is_not_echoed(desk: Desk) -> None:
    master, terminal = pty.openpty()
    shown = b""
    with (
        os.fdopen(master, "r+b", buffering=0) as keyboard,
        subprocess.Popen(
            desk.command("--change-secret"),
            env=desk.environ(),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as script,
    ):
        assert script.stdout
        while b"(it is not shown): " not in shown:
            shown += os.read(script.stdout.fileno(), 4096) or pytest.fail(str(shown))
        keyboard.write(f"{SECRET}\n".encode())
        shown += script.stdout.read()
        os.set_blocking(master, False)
        shown += keyboard.read() or b""
        os.close(terminal)
    assert script.returncode == 0, shown
    assert SECRET.encode() not in shown
    assert given_secret(Run(0, shown.decode(), "", desk.calls())) == SECRET


ES256 = {"DT_SIGNATURE_POLICY": "es256", "DT_ORGANIZATION_ID": "one"}


@pytest.mark.parametrize(
    ("there", "arguments", "environ", "command"),
    [
        (["project", "secret"], [], {}, None),
        (["project", "secret"], ["--change-secret"], {}, "ce secret update"),
        (["project", "secret"], ["--secret-only"], {}, None),
        ([], ["--secret-only", "--build-source", "/nowhere"], {}, "ce secret create"),
        ([], [], ES256, None),
    ],
)
def test_secret_is_written_only_when_needed_or_asked(
    desk: Desk, there: list[str], arguments: list[str], environ: dict[str, str], command: str | None
) -> None:
    desk.account([*READY, *there])
    done = desk.run(*arguments, secret="" if environ else SECRET, **environ)
    assert done.returncode == 0, done.errors
    assert [it["argv"][:3] for it in done.calls if "content" in it] == ([command.split()] if command else [])
    if command:
        assert given_secret(done) == SECRET
        assert options(done.one(command), "--name") == ["dt-receiver-signature"]
    if "--secret-only" in arguments and command:
        assert done.called("resource service-instance ") == done.called("iam") == done.called("ce application") == []
    elif "--secret-only" not in arguments:
        assert ("--env-from-secret" in done.one("ce application create")) is not bool(environ)


def test_secret_is_made_once(desk: Desk) -> None:
    done = desk.run()
    assert done.returncode == 0, done.errors
    assert len(given_secret(done)) == 64
    again = desk.run(secret="a secret of another terminal, 43 bytes long")
    assert again.returncode == 0, again.errors
    assert [it for it in again.calls if "content" in it] == []


def test_region_and_group_are_those_that_are_targeted(desk: Desk) -> None:
    done = desk.run(region="")
    assert done.returncode == 0, done.errors
    assert done.called("target -r") == [["target", "-r", "eu-gb"]]
    assert done.called("resource groups") == []
    desk.account([*READY, "no target"])
    done = desk.run(region="")
    assert (done.returncode, done.called("ce ")) == (1, [])
    assert "Say where, such as --region eu-de." in done.errors
    assert desk.run().called("target -r") == [["target", "-r", "eu-de", "-g", "Default"]]


def test_tags_are_attached_to_the_project_and_cloudant(desk: Desk) -> None:
    done = desk.run("--tags", "team:facilities,cost:1")
    assert done.returncode == 0, done.errors
    attached = done.called("resource tag-attach")
    assert [options(it, "--tag-names") for it in attached] == [["team:facilities,cost:1"]] * 2
    assert [options(it, "--resource-id")[0].split(":")[4] for it in attached] == ["codeengine", "cloudantnosqldb"]
    assert desk.run().called("resource tag-attach") == []


def test_secret_leaves_no_file_when_the_command_fails(desk: Desk) -> None:
    desk.account([*READY, "fails ce secret create"])
    done = desk.run(secret=SECRET)
    assert (done.returncode, list(desk.temporary.iterdir())) == (1, [])
    assert SECRET not in done.output + done.errors


@pytest.mark.parametrize(("form", "bundle"), [("application", "app:2"), ("function", "function-dt-receiver-build:2")])
def test_build_only_prints_the_variables_of_terraform(desk: Desk, form: str, bundle: str) -> None:
    variables = desk.folder / "build.auto.tfvars"
    done = desk.run("--form", form, "--build-only", "--variables", str(variables))
    assert (done.returncode, done.errors) == (0, "")
    assert done.output.endswith(variables.read_text())
    assert dict(re.findall(r'^(\w+) = "(.*)"$', variables.read_text(), re.MULTILINE)) == {
        "form": form,
        "region": "eu-de",
        "project_id": "PROJECT-GUID",
        "reference": f"private.de.icr.io/ce--1/{bundle}",
        "registry_secret": "ce-auto-icr-private-eu-de",
    }
    assert "\nes256 = false\n" in done.output
    assert done.called("ce secret") == done.called("iam") == done.called("resource service-instance ") == []
    if form == "function":
        create = done.one("ce function create")
        assert options(create, "--visibility") == ["project"], "nobody is to call it"
        assert "--env-from-secret" not in create


@pytest.mark.parametrize(("form", "name"), [("application", "app-requirements.txt"), ("function", "requirements.txt")])
@pytest.mark.parametrize("way", ["deployed", "environment", "option"])
def test_package_has_what_the_organization_needs(desk: Desk, form: str, name: str, way: str, tmp_path: Path) -> None:
    """Also from a shell without DT_ORGANIZATION_ID, if what is deployed has it: it keeps the setting."""
    repository = tmp_path / "repository"
    package = written("ibm", repository)
    desk.script = repository / SCRIPT.relative_to(ROOT)
    arguments = ["--form", form, "--build-source", str(package)]
    desk.account([*READY, "project", "secret", "cloudant", f"{form} dt-receiver"])
    assert desk.run(*arguments).returncode == 0
    assert "cryptography" not in (package / name).read_text()
    if way == "deployed":
        desk.account([*READY, "project", "secret", "cloudant", f"{form} dt-receiver", "organization"])
    done = desk.run(
        *arguments,
        *(["--es256"] if way == "option" else []),
        **({"DT_ORGANIZATION_ID": "one"} if way == "environment" else {}),
    )
    assert (done.returncode, done.errors) == (0, "")
    assert options(done.one(f"ce {form} update"), "--build-source") == [str(package)]
    assert re.findall("^(cryptography|pyjwt)==", (package / name).read_text(), re.MULTILINE) == [
        "cryptography",
        "pyjwt",
    ]


@pytest.mark.parametrize("form", OF_FORM)
def test_package_without_what_the_organization_needs_replaces_nothing(desk: Desk, form: str) -> None:
    desk.account([*READY, "project", "secret", "cloudant", f"{form} dt-receiver", "organization"])
    for path in desk.package.iterdir():
        path.write_text("pyjwt==2.15.1\n")
    done = desk.run("--form", form)
    assert (done.returncode, done.called(f"ce {form} update")) == (1, [])
    assert "make package-ibm ARGS=--es256" in done.errors


# What is there; the arguments; the complaint; what is not called by then.
REFUSED = [
    (READY, "--form job", "--form is application or function, not job.", ""),
    (READY, f"--name {'d' * 51}", "50 characters at most", ""),
    (READY, "--rebuild", "--rebuild is not known here: see --help.", ""),
    (READY, "--build-source /nowhere", "make package-ibm", ""),
    ([], "", "ibmcloud plugin install code-engine\nNot logged in", "ce"),
    (READY, "--change-secret", "Set DT_SIGNATURE_SECRET, or type it", "ce application create"),
    ([*READY, "secret"], "--cloudant several", "Give the id of one", "iam trusted-profile-create"),
]


@pytest.mark.parametrize(("there", "arguments", "complaint", "not_called"), REFUSED)
def test_fault_is_named_before_anything_is_done(
    desk: Desk, there: list[str], arguments: str, complaint: str, not_called: str
) -> None:
    desk.account(there)
    done = desk.run(*arguments.split())
    assert done.returncode == 1
    assert complaint in done.errors
    assert done.called(not_called) == []


def test_policy_that_lets_in_everybody_is_refused(desk: Desk) -> None:
    done = desk.run(secret=SECRET, DT_SIGNATURE_POLICY="unsigned")
    assert (done.returncode, done.output, done.calls, "unset it" in done.errors) == (1, "", [], True)


@pytest.mark.parametrize(
    ("command", "at"),
    [
        ("ce project create", "Code Engine project dt-receiver: making it"),
        ("iam trusted-profile-policy-create", "Its role in Cloudant"),
        ("iam trusted-profile-link-create", "Link of the application"),
    ],
)
def test_failed_step_is_named_and_the_next_run_continues(desk: Desk, command: str, at: str) -> None:
    desk.account([*READY, f"fails {command}"])
    done = desk.run(secret=SECRET)
    assert done.returncode == 1
    assert "Something that ibmcloud says." in done.errors
    assert f'It stopped at "{at}' in done.errors
    assert URL not in done.output
    account = json.loads((desk.bin / "account.json").read_text())
    desk.account([it for it in account if not it.startswith("fails")])
    again = desk.run(secret=SECRET)
    assert (again.returncode, again.output.splitlines()[-1]) == (0, URL), again.errors


@TOOLS.needed
@pytest.mark.parametrize(
    "script",
    [SCRIPT, *ROOT.glob("*_*/*.sh"), *ROOT.glob("heroku/*.sh")],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_shellcheck_passes(script: Path) -> None:
    done = TOOLS.run("shellcheck", str(script))
    assert (done.returncode, done.stdout) == (0, "")
