"""Shared code of the functions' benches: the package, and calls in a separate process."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import ROOT, CannotMeasure
from bench.rounds import median, paired_ratio
from bench.samples import fresh_delivery

SITE_PACKAGES = Path(sysconfig.get_paths()["purelib"])

# The description of a call, the number of threads, and the settings.
Way = tuple[str, int]
# One round: p50 in microseconds and events a second, bare; those of the function; then those of further bases, if any.
Found = tuple[float, ...]
# The prefix of the code of `calls`: call a function with each number below ``count``, on some threads; return the p50
# in microseconds, and the number of calls a second.
RUN = """
import threading, time

def run(do, count, threads):
    times, started = [[] for _ in range(threads)], time.perf_counter()
    def work(own, at):
        for number in range(at, count, threads):
            begun = time.perf_counter()
            do(number)
            own.append(time.perf_counter() - begun)
    workers = [threading.Thread(target=work, args=(own, at)) for at, own in enumerate(times)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    took = time.perf_counter() - started
    every = sorted(sum(times, []))
    return every[len(every) // 2] * 1e6, count / took
"""


def zipped(cloud: str, adapter: str) -> Path:
    """Return the package of ``cloud``, as ``make package-...`` wrote it.

    Raises:
        CannotMeasure: The package is missing.
    """
    archive = ROOT / "dist" / f"{adapter}.zip"
    if not archive.is_file():
        raise CannotMeasure(f"dist/{archive.name} is missing: run make package-{cloud}.")
    return archive


def compiled(archive: Path, folder: Path) -> Path:
    """Unpack a package below ``folder`` and compile it, as a cloud's build does; return its folder."""
    package = folder / "package"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(package)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(package)], check=True)
    return package


def calls(
    name: str, code: str, ways: Mapping[Way, Mapping[str, str]], events: int, rounds: int
) -> dict[Way, list[Found]]:
    """Run ``code`` in each way once a round, in a separate process; return its last output.

    Args:
        name: The part's name, for progress messages.
        code: Reads pairs of token and body from standard input, and the concurrency from its first argument.
        ways: The environment of each.
        events: The number of pairs.
        rounds: The number of rounds.

    Raises:
        CannotMeasure: It failed.
    """
    found: dict[Way, list[Found]] = {way: [] for way in ways}
    for index in range(rounds):
        for way, own in found.items():
            deliveries = [(token, body.decode()) for body, token in (fresh_delivery() for _ in range(events))]
            printed = run(code, (str(way[1]),), ways[way], json.dumps(deliveries))
            own.append(tuple(json.loads(printed.splitlines()[-1])))
        print(f"{name}: calls, round {index + 1} of {rounds}", file=sys.stderr)
    return found


def run(code: str, arguments: Sequence[str], environ: Mapping[str, str], text: str) -> str:
    """Run ``code`` from this repository with ``text`` as its input; return its output, errors as above."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), **environ},
        input=text,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CannotMeasure(f"The calls failed, with exit status {done.returncode}.")
    return done.stdout


def beside_bare(way: Way, found: Sequence[Found]) -> str:
    """Return the sentence about one way to call."""
    bare_p50, bare_rate, p50, rate, *_ = zip(*found, strict=True)
    name, at_a_time = way
    return (
        f"{name}, {at_a_time} at a time: p50 {median(p50):,.0f} us, {paired_ratio(p50, bare_p50):.2f} x bare "
        f"({median(bare_p50):,.0f} us); events a second {paired_ratio(rate, bare_rate):.2f} x bare."
    )


def beside_other(way: Way, found: Sequence[Found], what: str) -> str:
    """Return the same sentence for another base: the last two figures of each round."""
    _, _, p50, rate, other_p50, other_rate = zip(*found, strict=True)
    return (
        f"{what}, {way[1]} at a time: p50 {median(other_p50):,.0f} us. The function's is "
        f"{paired_ratio(p50, other_p50):.2f} x, its events a second {paired_ratio(rate, other_rate):.2f} x."
    )
