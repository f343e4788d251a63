"""The two load generators: wrk for the receiver, pgbench for PostgreSQL alone."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import CannotMeasure
from bench.requests import RequestFile
from bench.rounds import percentiles
from bench.samples import DEVICE_PREFIX, DEVICES, EVENT_TYPE, PROJECT, fresh_body
from heroku.postgres import _INSERT

_LUA = Path(__file__).with_name("wrk.lua")

# The parameters of the receiver's INSERT for pgbench, whose only random values are numbers.
_PARAMETERS = {
    "$1": f":id::text || '.{EVENT_TYPE}.{DEVICE_PREFIX}' || :device::text",
    "$2": ":id",
    "$3": f"'{EVENT_TYPE}'",
    "$4": f"'{DEVICE_PREFIX}' || :device::text",
    "$5": f"'{PROJECT}'",
    "$6": "now()",
    "$7": "now()",
    "$8": "'hs256:0'",
    "$9": "true",
    "$10": ":body",
}
# Only a sample of the transactions is logged, because logging all would slow pgbench down.
_SAMPLING_RATE = "0.1"


class TooFewRequests(Exception):
    """wrk sent all requests before its time was up."""


@dataclass(frozen=True)
class Load:
    """The result of a load generator.

    Attributes:
        rate: Confirmed events per second.
        p50: The median of the time to an answer, in milliseconds.
        p99: Its 99th percentile.
        confirmed: The number of events answered 2xx, or committed.
        refused: The number of other answers.
        broken: The number of socket errors and missing answers.
    """

    rate: float
    p50: float
    p99: float
    confirmed: int
    refused: int = 0
    broken: int = 0


def wrk(command: str, requests: RequestFile, port: int, connections: int, seconds: int) -> Load:
    """Send each request once, over a number of connections.

    Raises:
        TooFewRequests: More requests are needed.
        CannotMeasure: wrk failed.
    """
    options = ("-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_LUA), f"http://127.0.0.1:{port}/")
    found = re.search(r"^figures (.*)$", _run([command, *options, "--", str(requests.path)]), re.MULTILINE)
    if found is None:
        raise CannotMeasure("wrk printed no figures. It has to be 4.0 or newer, with Lua.")
    *figures, supply = found[1].split()
    if supply == "exhausted":
        raise TooFewRequests
    answered, microseconds, refused, broken, p50, p99 = map(float, figures)
    confirmed = int(answered - refused)
    return Load(confirmed / microseconds * 1e6, p50 / 1e3, p99 / 1e3, confirmed, int(refused), int(broken))


def pgbench(command: Path, url: str, connections: int, threads: int, seconds: int, folder: Path) -> Load:
    """Run the receiver's own INSERT, prepared, one row and one commit at a time.

    Raises:
        CannotMeasure: pgbench failed.
    """
    script = folder / "insert.sql"
    script.write_text(
        f"\\set id random(1, 9223372036854775807)\n\\set device random({DEVICES.start}, {DEVICES.stop - 1})\n"
        + " ".join(re.sub(r"\$\d+", lambda found: _PARAMETERS[found[0]], _INSERT).split())
        + ";\n"
    )
    for log in folder.glob("log.*"):
        log.unlink()
    options = [f"-c{connections}", f"-j{threads}", f"-T{seconds}", f"-Dbody={fresh_body().decode()}"]
    options += ["-n", "-Mprepared", f"-f{script}", "-l", f"--log-prefix={folder / 'log'}"]
    output = _run([str(command), *options, f"--sampling-rate={_SAMPLING_RATE}", url])
    rate = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    count = re.search(r"^number of transactions actually processed: (\d+)", output, re.MULTILINE)
    # https://www.postgresql.org/docs/current/pgbench.html: client, transaction, microseconds, ...
    times = [int(line.split()[2]) for log in folder.glob("log.*") for line in log.read_text().splitlines()]
    if rate is None or count is None or len(times) < 2:
        raise CannotMeasure("pgbench printed no figures.")
    p50, p99 = percentiles(times)
    return Load(float(rate[1]), p50 / 1e3, p99 / 1e3, int(count[1]))


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotMeasure(f"{Path(command[0]).name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
