"""How a fresh process starts: the time to its first answered delivery, and its memory."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import CannotMeasure, Options
from bench.report import Section, number
from bench.rounds import RATIOS, median, paired_ratio
from bench.samples import Sample
from core.signature import ES256_HEADER, HS256_HEADER
from tests.support.deliveries import ORGANIZATION, SECRET
from tests.support.es256 import JWKS

_HEADER = ("A fresh process", "x `import jwt`", "ms over bare", "ms", "MiB over bare", "peak MiB")
_HEAVY = ("jwt", "cryptography")
_ROOT = Path(__file__).parents[1]
_MIN_ROUNDS = 15

_RECEIVE = """
import os, sys
from core.http import Request
from core.receiver import Receiver
from core.settings import Settings
from core.store import Outcome

class Store:
    def put(self, event, deadline):
        return Outcome.STORED

name, token, body = sys.argv[1:]
request = Request("POST", "/", [(name, token)], os.fsencode(body))
if Receiver(Settings.load(os.environ), Store()).handle(request).status != 200:
    os._exit(1)
"""
# Without the interpreter's clean-up, which no start has to wait for.
_END = "\nimport os; os._exit(0)"
# The high-water mark of this program alone: rusage's would have that of the process which started it, too.
_LOOK = """
import os, sys
try:
    kib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
except OSError:
    import resource
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(kib, *(name for name in ("jwt", "cryptography") if name in sys.modules), flush=True)
os._exit(0)
"""


@dataclass(frozen=True, eq=False)
class _Program:
    """What a fresh process does.

    Attributes:
        name: What the table calls it.
        code: The Python that it runs.
        arguments: Its ``sys.argv[1:]``.
        environ: Its settings.
    """

    name: str
    code: str
    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


def measure(options: Options) -> Section:
    """Start everything in turns, ``options.rounds`` times but at least 15."""
    rounds = max(options.rounds, _MIN_ROUNDS)
    bare, pyjwt, hs256, _ = programs = _programs()
    memory, loaded = {}, {}
    for program in programs:  # which also writes what bytecode is not there yet
        memory[program], loaded[program] = _look(program)
    times: dict[_Program, list[float]] = {program: [] for program in programs}
    for index in range(rounds):
        for program in random.sample(programs, len(programs)):
            times[program].append(_milliseconds(program))
        if (index + 1) % 5 == 0 or index + 1 == rounds:
            print(f"import: round {index + 1} of {rounds}", file=sys.stderr)

    def over_bare(program: _Program) -> list[float]:
        return [own - least for own, least in zip(times[program], times[bare], strict=True)]

    rows = []
    for program in programs:
        own = over_bare(program)
        ratio = "" if program is bare else number(paired_ratio(own, over_bare(pyjwt)), 2)
        figures = (median(own), median(times[program]), memory[program] - memory[bare], memory[program])
        rows.append([program.name, ratio, *(number(figure, 1) for figure in figures)])
    modules = ", ".join(f"{name} {'yes' if name in loaded[hs256] else 'no'}" for name in _HEAVY)
    notes = (
        f"Wall time, {rounds} runs in turns, with warm caches and without the interpreter's clean-up at the end.",
        "core: imports, settings, and one delivery that is verified, stored in memory and answered 200.",
        f"In sys.modules after an HS256 delivery: {modules}.",
        RATIOS,
    )
    return Section("import: from nothing to the first answer", _HEADER, rows, notes)


def _programs() -> list[_Program]:
    """Return what is compared: first the bare interpreter, then PyJWT, core with HS256, core with ES256."""
    sample = Sample()
    body = os.fsdecode(sample.body)
    return [
        _Program("bare Python", "pass"),
        _Program("`import jwt`", "import jwt"),
        _Program("core, HS256", _RECEIVE, (HS256_HEADER, sample.hs256, body), {"DT_SIGNATURE_SECRET": SECRET}),
        _Program(
            "core, ES256",
            _RECEIVE,
            (ES256_HEADER, sample.es256, body),
            {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS},
        ),
    ]


def _milliseconds(program: _Program) -> float:
    started = time.perf_counter()
    _run(program, _END)
    return (time.perf_counter() - started) * 1e3


def _look(program: _Program) -> tuple[float, list[str]]:
    """Return the peak of its memory in MiB, and which of the heavy modules it has loaded."""
    last_line = _run(program, _LOOK, subprocess.PIPE).splitlines()[-1]
    kib, *modules = last_line.split()
    return int(kib) / 1024, modules


def _run(program: _Program, ending: str, stdout: int = subprocess.DEVNULL) -> str:
    """Run it, and return what it printed if ``stdout`` is a pipe.

    Raises:
        CannotMeasure: It failed.
    """
    environ = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_ROOT), **program.environ}
    command = [sys.executable, "-c", program.code + ending, *program.arguments]
    done = subprocess.run(command, env=environ, stdout=stdout, text=True, check=False)
    if done.returncode != 0:
        raise CannotMeasure(f"{program.name!r} failed in a process of its own, with exit status {done.returncode}.")
    return done.stdout or ""
