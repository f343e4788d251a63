"""The program `ibmcloud` in place of IBM's: `tests.support.ibmcloud` copies it into a folder with an account.

It records each call, and answers from a table.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

CRN = "crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-GUID::"
FOLDER, ARGV = Path(__file__).parent, sys.argv[1:]


def option(key: str) -> str:
    return ARGV[ARGV.index(key) + 1] if key in ARGV else ""


def named(text: str) -> str:
    return text.replace("%NAME", option("--name"))


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
            if made:
                links = ["link " + option("--name")] if made == "link" else []
                (FOLDER / "account.json").write_text(json.dumps([*account, named(made), *links]))
            if printed == "%LINKS":
                printed = [{"name": it[5:], "link": {"crn": CRN}} for it in account if it.startswith("link ")]
            sys.stdout.write(named(printed if isinstance(printed, str) else json.dumps(printed, indent=4)) + "\n")
            return
    sys.exit("FAILED\nThere is no such thing." if known else f"The stand-in does not know: {line}")


if __name__ == "__main__":
    main()
