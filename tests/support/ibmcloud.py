"""A stand-in for the IBM Cloud CLI, with an account whose content each test defines.

It records each call and answers from a table. Not validated: whether the real CLI knows these commands and options,
and how it handles unknown names.
"""

import json
import os
import shutil
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

# The beginning of a command; what must exist; what exists afterwards; the output. %NAME is the option --name.
ANSWERS = Path(__file__).with_suffix(".json")
STAND_IN = Path(__file__).with_name("ibmcloud_cli.py")


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
        self.folder, self.shell, self.script = folder, list(shell), SCRIPT
        self.bin, self.temporary = folder / "bin", folder / "tmp"
        self.package = folder / "dist with a space"
        for path in (self.bin, self.temporary, self.package):
            path.mkdir()
        command = self.bin / "ibmcloud"
        command.write_text(f"#!{sys.executable} -IS\n{STAND_IN.read_text()}")
        command.chmod(0o755)
        shutil.copy(ANSWERS, self.bin / "answers.json")
        for name in ("Dockerfile", "app-requirements.txt", "__main__.py", "requirements.txt"):
            (self.package / name).write_text("cryptography==50.0.2\n")
        self.account(READY)

    def account(self, there: Sequence[str]) -> None:
        (self.bin / "account.json").write_text(json.dumps(list(there)))

    def command(self, *arguments: str, region: str = "eu-de") -> list[str]:
        where = ["--region", region] if region else []
        return [*self.shell, str(self.script), *where, "--build-source", str(self.package), *arguments]

    def environ(self, **more: str) -> dict[str, str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "TMPDIR": str(self.temporary)} | more

    def run(self, *arguments: str, secret: str = "", typed: str = "", region: str = "eu-de", **environ: str) -> Run:
        """Run the script; `secret` is in the environment, `typed` on standard input."""
        (self.bin / "calls").unlink(missing_ok=True)
        if secret:
            environ["DT_SIGNATURE_SECRET"] = secret
        done = subprocess.run(
            self.command(*arguments, region=region),
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
