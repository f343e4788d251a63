"""``python -m bench``: the command line, and the file of the result."""

import argparse
import importlib
import shlex
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from bench import CannotMeasure, Options, machine, plots
from bench.report import RESULTS, Section, render

# Imported one by one, so that a missing requirement of one part does not affect the others.
PARTS = {
    "core": "bench.cpu",
    "import": "bench.start",
    "aws": "bench.aws",
    "gcp": "bench.gcp",
    "azure": "bench.azure",
    "ibm": "bench.ibm",
    "heroku": "bench.throughput",
    "reading": "bench.reading",
    "cloud": "bench.cloud",
    "before": "bench.before",
    "flood": "bench.flood",
    "peers": "bench.beside",
    "growth": "bench.growth",
    "packages": "bench.packages",
}

_NUMBERS = (
    ("--seconds", 6, "of one round of core, of one measurement of heroku"),
    ("--rounds", 9, "of which medians are taken; import and the functions take at least 15"),
    ("--connections", 32, "to heroku, beside 1 and 128"),
    ("--rows", 1_000_000, "that growth stores at most"),
)
_EXAMPLES = """\
parts:
  core      CPU per event: verified, parsed, kept in memory, logged; and what it costs to refuse a request
  aws       the Lambda function's cold start, memory and size, beside boto3 alone; what it adds to the store's call
  gcp       the same of the Cloud Run function, beside Google's generated publisher
  azure     the same of the Azure function, beside the SDK of each store
  ibm       the same of IBM's, beside Cloudant's SDK
  import    how long a fresh process takes to its first answered delivery, and how much memory
  heroku    events a second into PostgreSQL, beside pgbench with the same INSERT, and Flask (needs wrk and PostgreSQL)
  reading   what a query and a put cost once a million events are stored; 4 minutes, 3 GB where temporary files are
  cloud     DT Cloud on your desk, 1,000 sensors and the local receiver, for a minute; then a simulated week; 25 minutes
  before    the local receiver's CPU per event and start, beside those of an earlier commit (needs wrk)
  flood     how long deliveries take beside floods without a signature, and the local receiver's memory; a minute
  peers     each cloud's receiver beside what one would write with PyJWT and the vendor's SDK; 15 minutes
  packages  the size of each function with its libraries, beside what one would write; 2 minutes
  plots     docs/plots/ from the newest results of growth and peers; measures nothing
  growth    what an event costs with more connections, larger bodies, more samples, more rows; 10 minutes (needs wrk)

examples:
  python -m bench                                   all of it; about an hour
  python -m bench core
  python -m bench before --before HEAD~20
  python -m bench heroku --rounds 3 --connections 64
  python -m bench growth --rows 10000000            up to 10 million rows; another hour, and 20 GB of disk
  python -m bench all --seconds 2 --rounds 2        a quick look; too short to quote

The table is printed, and written to bench/results/. Leave the machine alone meanwhile.
"""


def main(arguments: list[str]) -> int:
    """Measure the requested parts; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the receiver on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "part", nargs="?", choices=(*PARTS, "all", "plots"), default="all", help="what to measure (all)"
    )
    for name, default, meaning in _NUMBERS:
        parser.add_argument(name, type=_positive, metavar="N", default=default, help=f"{meaning} ({default})")
    parser.add_argument("--before", metavar="COMMIT", default="HEAD", help="the earlier commit of before (HEAD)")
    chosen = parser.parse_args(arguments)
    if chosen.part == "plots":
        return plots.main()
    names = tuple(PARTS) if chosen.part == "all" else (chosen.part,)
    options = Options(chosen.seconds, chosen.rounds, chosen.connections, chosen.before, chosen.rows)

    # Like Ctrl-C: started processes end, and no partial result is written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started, described = datetime.now(UTC), machine.describe()
    sections: list[Section] = []
    failures = []
    try:
        for name in names:
            try:
                sections += _measure(name, options)
            except CannotMeasure as failure:
                print(f"{name}: {failure}", file=sys.stderr)
                failures.append(f"Not measured: {name}. {failure}")
    except KeyboardInterrupt:
        print("Interrupted: no result is written.", file=sys.stderr)
        return 130
    if not sections:
        return 1
    command = shlex.join(["python", "-m", "bench", *arguments])
    text = render(started, command, described, sections, failures)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{started:%Y-%m-%dT%H%M%SZ}.md"
    path.write_text(text)
    print(text)
    print(f"Written to bench/results/{path.name}", file=sys.stderr)
    return 0


def _measure(name: str, options: Options) -> Sequence[Section]:
    try:
        part = importlib.import_module(PARTS[name])
    except ModuleNotFoundError as error:
        raise CannotMeasure(f"{error.name} is not installed. `make test` installs all that is needed.") from None
    found: Section | Sequence[Section] = part.measure(options)
    return [found] if isinstance(found, Section) else found


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("it must be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
