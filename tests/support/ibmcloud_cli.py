"""The program `ibmcloud` in place of IBM's: `tests.support.ibmcloud` copies it into a folder with an account.

It records each call, and answers from a table.
"""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

CRN = "crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-GUID::"
CLOUDANT = "DT_CLOUDANT=https://abc-bluemix.cloudantnosqldb.appdomain.cloud"
FOLDER, ARGV = Path(__file__).parent, sys.argv[1:]


def option(key: str) -> str:
    return ARGV[ARGV.index(key) + 1] if key in ARGV else ""


def named(text: str) -> str:
    return text.replace("%NAME", option("--name"))


def variables(account: list[str]) -> list[dict[str, str]]:
    """Return the environment of what is deployed: what it was given last, by name."""
    given = [it[4:] for it in account if it.startswith("env ")] or [CLOUDANT]
    given += ["DT_ORGANIZATION_ID=one"] * ("organization" in account)
    found = dict(it.split("=", 1) for it in given)
    return [{"name": name, "type": "literal", "value": value} for name, value in found.items()]


def main() -> None:
    account: list[str] = json.loads((FOLDER / "account.json").read_text())
    # It reads standard input, as a command does that asks whether one is sure.
    call: dict[str, Any] = {"argv": ARGV, "has_secret": "DT_SIGNATURE_SECRET" in os.environ, "read": sys.stdin.read()}
    if option("--from-file"):
        key, _, path = option("--from-file").partition("=")
        mode = oct(Path(path).stat().st_mode & 0o777)
        call |= {"key": key, "content": Path(path).read_text(), "mode": mode, "path": path}
    with (FOLDER / "calls").open("a") as file:
        file.write(json.dumps(call) + "\n")
    line = " ".join(ARGV)
    if any(it.startswith("fails ") and line.startswith(it[6:]) for it in account):
        sys.exit("FAILED\nSomething that ibmcloud says.")
    known = [it for it in json.loads((FOLDER / "answers.json").read_text()) if f"{line} ".startswith(it[0])]
    for _, needed, made, printed in known:
        if not needed or named(needed) in account:
            links = ["link " + option("--name")] if made == "link" else []
            given = ["env " + value for key, value in pairwise(ARGV) if key == "--env"]
            made_names = [named(made)] if made else []
            (FOLDER / "account.json").write_text(json.dumps([*account, *made_names, *links, *given]))
            if printed == "%LINKS":
                printed = [{"name": it[5:], "link": {"crn": CRN}} for it in account if it.startswith("link ")]
            if isinstance(printed, dict) and "run_env_variables" in printed:
                printed["run_env_variables"] = variables(account)
            sys.stdout.write(named(printed if isinstance(printed, str) else json.dumps(printed, indent=4)) + "\n")
            return
    sys.exit("FAILED\nThere is no such thing." if known else f"The stand-in does not know: {line}")


if __name__ == "__main__":
    main()
