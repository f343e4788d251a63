"""A stand-in for the IBM Cloud CLI, with an account whose content each test defines.

It records each call and answers from a table. Not validated: whether the real CLI knows these commands and options,
and how it handles unknown names.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "ibm_actions" / "deploy" / "code_engine.sh"
HOST = "abc-bluemix.cloudantnosqldb.appdomain.cloud"
CRN = "crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-GUID::"
READY = ["plug-in", "login"]

INSTANCE = {
    "id": "crn:v1:bluemix:public:cloudantnosqldb:eu-de:a/1:CLOUDANT-GUID::",
    "guid": "CLOUDANT-GUID",
    "state": "active",
    "plan_history": [{"resource_plan_id": "standard", "start_date": "2026-11-01T00:00:00.000Z"}],
    "extensions": {"endpoints": {"private": f"private.{HOST}", "public": HOST}},
}
POLICY = {"id": "p", "resources": [{"attributes": [{"name": "serviceInstance", "value": "CLOUDANT-GUID"}]}]}
RECEIVER = {
    "name": "%NAME",
    "code_reference": "cr://private.de.icr.io/ce--1/function-%NAME:2",
    "code_secret": "ce-auto-icr-private-eu-de",
    "run_env_variables": [{"name": "DT_CLOUDANT", "type": "literal", "value": f"https://{HOST}"}],
    "endpoint": "https://%NAME.xyz.eu-de.codeengine.appdomain.cloud",
}
BUILD = {"output_image": "private.de.icr.io/ce--1/app:2", "output_secret": "ce-auto-icr-private-eu-de"}
# The beginning of a command; what must exist; what exists afterwards; the output. %NAME is the option --name.
ANSWERS: list[tuple[str, str, str, Any]] = [
    ("plugin show code-engine", "plug-in", "", ""),
    ("account show", "login", "", ""),
    ("target", "", "", "Targeted region eu-de"),
    ("ce project get", "project", "", {"name": "%NAME", "guid": "PROJECT-GUID", "id": CRN, "crn": CRN}),
    ("ce project create", "", "project", "Creating project..."),
    ("ce project select", "project", "", "Selecting project..."),
    ("ce secret get", "secret", "", "DT_SIGNATURE_SECRET: ZW5jb2RlZA=="),
    ("ce secret create", "", "secret", "Creating secret..."),
    ("ce secret update", "secret", "", "Updating secret..."),
    ("resource service-instance several", "", "", [INSTANCE, INSTANCE | {"guid": "ANOTHER"}]),
    (
        *("resource service-instance object-storage", "", ""),
        [INSTANCE | {"id": "crn:v1:bluemix:public:cloud-object-storage:global:a/1:G::"}],
    ),
    ("resource service-instance ", "cloudant", "", [INSTANCE]),
    ("resource service-instance-create", "", "cloudant", "Creating service instance..."),
    ("iam trusted-profile ", "profile", "", [{"id": "Profile-1234", "entity_tag": "1-a", "name": "dt-receiver"}]),
    ("iam trusted-profile-create", "", "profile", "Creating trusted profile..."),
    ("iam trusted-profile-policies", "policy", "", [POLICY]),
    ("iam trusted-profile-policies", "", "", []),
    ("iam trusted-profile-policy-create", "", "policy", "Creating policy..."),
    ("iam trusted-profile-links", "link", "", "%LINKS"),
    ("iam trusted-profile-links", "", "", []),
    ("iam trusted-profile-link-create", "", "link", "Creating link..."),
    ("ce application get --name dt-receiver --output url", "", "", RECEIVER["endpoint"]),
    ("ce buildrun submit", "", "", "Submitting build run..."),
    ("ce buildrun get", "", "", BUILD),
]
for _kind in ("application", "function"):
    ANSWERS += [
        (f"ce {_kind} get", f"{_kind} %NAME", "", RECEIVER),
        (f"ce {_kind} create", "", f"{_kind} %NAME", "Submitting build run..."),
        (f"ce {_kind} update", f"{_kind} %NAME", "", "Submitting build run..."),
    ]

STAND_IN = r"""
import json, os, sys

folder, argv = os.path.dirname(__file__), sys.argv[1:]
account = json.load(open(folder + "/account.json"))
option = lambda key: argv[argv.index(key) + 1] if key in argv else ""
# It reads standard input, as a command does that asks whether one is sure.
call = {"argv": argv, "has_secret": "DT_SIGNATURE_SECRET" in os.environ, "read": sys.stdin.read()}
if option("--from-file"):
    key, _, path = option("--from-file").partition("=")
    call |= {"key": key, "content": open(path).read(), "mode": oct(os.stat(path).st_mode & 0o777), "path": path}
with open(folder + "/calls", "a") as file:
    file.write(json.dumps(call) + "\n")
line = " ".join(argv)
if any(it.startswith("fails ") and line.startswith(it[6:]) for it in account):
    sys.exit("FAILED\nSomething that ibmcloud says.")
known = [it for it in json.load(open(folder + "/answers.json")) if (line + " ").startswith(it[0])]
put_in = lambda text: text.replace("%NAME", option("--name"))
for _, needed, made, printed in known:
    if not needed or put_in(needed) in account:
        if made:
            links = ["link " + option("--name")] if made == "link" else []
            json.dump(account + [put_in(made), *links], open(folder + "/account.json", "w"))
        if printed == "%LINKS":
            crn = {"crn": "CRN"}
            printed = [{"name": it[5:], "link": crn} for it in account if it.startswith("link ")]
        print(put_in(printed if isinstance(printed, str) else json.dumps(printed, indent=4)))
        sys.exit()
sys.exit("FAILED\nThere is no such thing." if known else "The stand-in does not know: " + line)
""".replace("CRN", CRN)


@dataclass
class Run:
    """The script's output, and its calls."""

    returncode: int
    output: str
    errors: str
    calls: list[dict[str, Any]]

    def called(self, start: str) -> list[list[str]]:
        """Return the arguments of the calls with this beginning."""
        return [it["argv"] for it in self.calls if " ".join(it["argv"]).startswith(start)]

    def one(self, start: str) -> list[str]:
        (found,) = self.called(start)
        return found


class Desk:
    """A folder with the stand-in, a staged package, and the account."""

    def __init__(self, folder: Path, shell: Sequence[str]) -> None:
        self.folder, self.shell = folder, list(shell)
        self.bin, self.temporary = folder / "bin", folder / "tmp"
        self.package = folder / "dist with a space"
        for path in (self.bin, self.temporary, self.package):
            path.mkdir()
        command = self.bin / "ibmcloud"
        command.write_text(f"#!{sys.executable} -IS\n{STAND_IN}")
        command.chmod(0o755)
        (self.bin / "answers.json").write_text(json.dumps(ANSWERS))
        for name in ("Dockerfile", "app-requirements.txt", "__main__.py", "requirements.txt"):
            (self.package / name).touch()
        self.account(READY)

    def account(self, there: Sequence[str]) -> None:
        (self.bin / "account.json").write_text(json.dumps(list(there)))

    def command(self, *arguments: str) -> list[str]:
        return [*self.shell, str(SCRIPT), "--region", "eu-de", "--build-source", str(self.package), *arguments]

    def environ(self, **more: str) -> dict[str, str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "TMPDIR": str(self.temporary)} | more

    def run(self, *arguments: str, secret: str = "", typed: str = "", **environ: str) -> Run:
        """Run the script; `secret` is in the environment, `typed` on standard input."""
        (self.bin / "calls").unlink(missing_ok=True)
        if secret:
            environ["DT_SIGNATURE_SECRET"] = secret
        done = subprocess.run(
            self.command(*arguments),
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


def options(argv: Sequence[str], name: str) -> list[str]:
    """Return the values of an option."""
    return [value for key, value in pairwise(argv) if key == name]


def environment(argv: Sequence[str]) -> dict[str, str]:
    return dict(it.split("=", 1) for it in options(argv, "--env"))
