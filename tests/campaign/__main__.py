"""``python -m tests.campaign``: its arguments and exit status."""

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.campaign.campaign import DUPLICATES, Campaign, Target
from tests.campaign.clouds import CLOUDS
from tests.campaign.heroku import heroku
from tests.campaign.local import local
from tests.campaign.report import failures, table
from tests.support.ledger import Ledger

TARGETS: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {"local": local, "heroku": heroku, **CLOUDS}
_EXAMPLES = f"""\
targets:
  local      python -m local, and its file
  heroku     python -m heroku, and a PostgreSQL of its own
  clouds     all of the following; each is an adapter with an emulator of its store
  {" ".join(CLOUDS)}

examples:
  make campaign ARGS="local"
  make campaign ARGS="local heroku --deliveries 1000000"
  make campaign ARGS="clouds --deliveries 2000 --at-once 4"
  make campaign ARGS="local --fault deleted"
  make campaign ARGS="sqs --deliveries 500 --seconds 120"

One fault after the other is injected while signed deliveries are sent; what is not answered 200 is sent again. The
exit code is 0 if nothing that was acknowledged is lost, nothing is stored twice where the store promises that, no
answer is 500, and the slowest took 8.5 s. Ctrl-C ends it and all that it started.
"""


def main(arguments: list[str]) -> int:
    """Run the chosen campaigns; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign",
        description="Send deliveries to a receiver while faults happen, and count what is lost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="+", choices=[*TARGETS, "clouds"], metavar="TARGET", help="see below")
    parser.add_argument("--deliveries", type=_positive, metavar="N", default=20_000, help="to each target (20000)")
    parser.add_argument("--seconds", type=_positive, metavar="N", default=1800, help="at most, for each target (1800)")
    parser.add_argument("--fault", metavar="TEXT", default="", help="only the faults with this in their names")
    parser.add_argument("--at-once", type=_positive, metavar="N", default=1, help="targets at the same time (1)")
    chosen = parser.parse_args(arguments)
    names = [name for target in chosen.targets for name in (CLOUDS if target == "clouds" else [target])]
    stopping = threading.Event()

    def run(name: str) -> list[str]:
        """Run one campaign, print its table, and return its failures."""
        ledger = Ledger(chosen.deliveries, DUPLICATES)
        try:
            with tempfile.TemporaryDirectory() as folder, TARGETS[name](Path(folder)) as target:
                target.faults = {fault: it for fault, it in target.faults.items() if chosen.fault in fault}
                if not target.faults:
                    return [f'{name}: no fault has "{chosen.fault}" in its name.']
                campaign = Campaign(name, target, ledger, _say, time.monotonic() + chosen.seconds, stopping)
                campaign.run()
        except pytest.skip.Exception as missing:
            return [f"{name}: not run: {missing}"]
        print(table(campaign), end="\n\n", flush=True)
        return failures(campaign)

    # Like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found: list[str] = []
    with ThreadPoolExecutor(chosen.at_once) as pool:
        running = [pool.submit(run, name) for name in names]
        try:
            for done in as_completed(running):
                found += done.result()
        except KeyboardInterrupt:
            _say("Stopping.")
            stopping.set()
            pool.shutdown(cancel_futures=True)
            return 130
    for sentence in found:
        print(sentence)
    return 1 if found else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("it must be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
