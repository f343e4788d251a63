"""The commands of pages and deployment scripts, as a shell calls them, and the vendors' programs that parse them.

A shell runs every line, with its variables, functions, loops and pipes, in front of programs that only record how they
are called. Each call is then made to the vendor's own program, without an account and without a network: it refuses an
unknown command or option at once, and says something else once it has parsed all.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import ROOT
from tests.support.repository import copy_repository

# Of the machine: a test may put stand-ins before it.
PATH = os.environ["PATH"]
# Prints a name, or what a page looks for; what matches a word of MISSING is not there.
STAND_IN = """#!/bin/sh
printf '%s\\0' "$PWD" "${PYTHONSAFEPATH:-}" "${0##*/}" "$@" >"$(mktemp "$CALLS/XXXXXX")"
for word in $MISSING; do
    case "$*" in
    *$word*) case "$*" in *list* | config:get*) exit 0 ;; *) exit 1 ;; esac ;;
    esac
done
case "$*" in
*StackStatus*) echo ROLLBACK_COMPLETE ;;
ps:type*) echo eco ;;
"group exists"*) echo false ;;
*"state list") printf '%s\\n' 'aws_dynamodb_table.events[0]' google_pubsub_topic.events ;;
*run.googleapis.com/ingress*) echo internal ;;
*versions?list* | *versions?add*) echo 1 ;;
*) echo dt-receiver ;;
esac
"""
HERE = (".venv/bin/python", ".venv/bin/dtconn", "tests/support/node/node_modules/.bin/azurite")
UTILITIES = "awk basename cat cp cut date dirname grep head id mkdir mktemp mv rm sed sh sort tail tee tr wc xargs"
PACKAGED = (
    "azure_functions.zip",
    "gcp_functions/main.py",
    "heroku/Procfile",
    "ibm_actions/Dockerfile",
    "ibm_actions/app-requirements.txt",
)
# What a reader of the page has, or puts in.
GIVEN = {"APIHOST": "127.0.0.1:9", "AUTH": "user:password", "DT_CLOUDANT": "http://127.0.0.1:9"}
GIVEN |= {"PARAMETERS": "KeepDays=30 AlarmEmail=me@example.com", "TAGS": "team=x", "DT_SIGNATURE_SECRET": "a secret"}
# What is not there: nothing; what a first deployment makes; whatever a command shows.
MISSING = (
    "",
    "get-value?url get-value?AZURE_RES get-value?DT_ describe app?list credential?list provider?list ions?list",
    "get show info service-key?dt-",
)


class Call(NamedTuple):
    """A program's name and arguments, the folder that calls it, and whether Python takes modules from there."""

    folder: str
    program: str
    arguments: tuple[str, ...]
    safe_path: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Return the program and its command: what comes before the first option or value."""
        after_options = dropwhile(lambda it: it.startswith("-"), self.arguments)
        return (self.program, *takewhile(re.compile(r"[a-z][a-z0-9:-]*").fullmatch, after_options))

    @property
    def shape(self) -> object:
        """Return the folder, the command and the names of its options."""
        return (
            self.folder,
            *self.words,
            frozenset(it.partition("=")[0] for it in self.arguments if it.startswith("-")),
        )


class Checkout:
    """A copy of the repository in which a shell runs commands, and vendors' programs parse them.

    Terraform's folders are empty there, so that it fetches no provider.
    """

    def __init__(self, folder: Path, programs: Iterable[str]) -> None:
        self.folder = copy_repository(folder / "here")
        for path in self.folder.glob("**/*.tf"):
            path.unlink()
        self._bin = folder / "bin"
        for path in (*(self._bin / name for name in programs), *(self.folder / name for name in HERE)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STAND_IN)
            path.chmod(0o755)
        for name in UTILITIES.split():
            (self._bin / name).symlink_to(shutil.which(name) or name)
        (self._bin / "sleep").symlink_to(shutil.which("true") or "true")
        for name in PACKAGED:
            (self.folder / "dist" / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "dist" / name).touch()
        (self.folder / "var").mkdir(exist_ok=True)
        (self.folder / "var" / "heroku-app").write_text("app\n")

    def calls(self, text: str) -> list[Call]:
        """Return the calls of programs in a shell script: where all is there that it asks for, and where some is not.

        Of the latter, only the shapes that are new, without empty values.
        """
        found: dict[Call, None] = {}
        script = self._bin.parent / "script"
        # BUCKET is a placeholder, and gcloud knows which letters a bucket's name has.
        script.write_text(text.replace("BUCKET", "bucket"))
        for missing in MISSING:
            made = Path(tempfile.mkdtemp(dir=self._bin.parent))
            environ = GIVEN | {"PATH": str(self._bin), "HOME": str(made), "CALLS": str(made), "MISSING": missing}
            done = subprocess.run(
                ["sh", str(script)],
                input="westeurope\n",
                env=environ,
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert "not found" not in done.stderr, done.stderr
            for path in sorted(made.iterdir(), key=lambda it: it.stat().st_mtime_ns):
                folder, safe_path, program, *arguments = path.read_text().split("\0")[:-1]
                call = Call(folder, program, tuple(arguments), safe_path)
                if not missing or ("" not in arguments and call.shape not in {it.shape for it in found}):
                    found[call] = None
        return list(found)


@dataclass
class Vendor:
    """A vendor's program.

    Attributes:
        parsed: What it says once it has parsed a command, as a pattern.
        environ: What keeps it from accounts and the network. ``HOME`` is an empty folder.
        folder: The folder below the repository's where it is, if not on the PATH.
        before: Arguments that go before all others.
    """

    parsed: str
    environ: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    before: tuple[str, ...] = ()

    def path(self, program: str) -> str | None:
        """Return where the program is, or None."""
        return shutil.which(program, path=str(ROOT / self.folder) if self.folder else PATH)

    def says(self, call: Call, home: Path) -> str:
        """Return what the program prints when it is called so, and its exit status."""
        environ = {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONSAFEPATH": call.safe_path} | self.environ
        done = subprocess.run(
            [self.path(call.program) or "", *self.before, *call.arguments],
            env=environ,
            cwd=call.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return f"{done.stdout}{done.stderr}\nexit {done.returncode}"


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
    "gcloud": Vendor(
        "active account selected|default credentials|^Welcome!|Go to the following link|Updated property|^my-project$",
        GOOGLE,
    ),
    "gh": Vendor(
        "proxyconnect tcp|not a git repository", {"GH_TOKEN": "x", "GH_REPO": "a/b"} | NO_NETWORK, ".venv-ibm/bin"
    ),
    "openssl": Vendor("exit 0$"),
    "sam": Vendor("Could not connect to the endpoint URL|Are you sure", AWS, ".venv-aws/bin"),
    "terraform": Vendor(
        "No (configuration|matching|outputs|state file)|[Bb]ackend|empty directory|default credentials|exit 0$"
    ),
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
PROGRAMS = VENDORS | (SLOW if os.environ.get("DT_VENDORS") else {})


def refused(calls: Iterable[Call], home: Path) -> dict[Call, str]:
    """Return the calls that their programs do not parse, one of each shape, and what those say."""
    with ThreadPoolExecutor(2) as pool:
        says = pool.map(
            lambda call: (call, PROGRAMS[call.program].says(call, home)), {it.shape: it for it in calls}.values()
        )
        return {call: said for call, said in says if not re.search(PROGRAMS[call.program].parsed, said, re.MULTILINE)}
