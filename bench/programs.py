"""Programs that are started anew, timed, and inspected."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import ROOT, CannotMeasure
from bench.report import number
from bench.rounds import median, paired_ratio

# Start times vary by a tenth.
MIN_ROUNDS = 15

# Without the interpreter's clean-up, which is not part of a start.
_END = "\nimport os; os._exit(0)"
# The peak of this program only: rusage's would include that of the parent process.
_LOOK = """
import os, sys
try:
    kib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
except OSError:
    import resource
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(kib, *(name for name in {modules} if name in sys.modules), flush=True)
os._exit(0)
"""


@dataclass(frozen=True, eq=False)
class Program:
    """A program to start in a new process.

    Attributes:
        name: Its name in the table.
        code: Its Python code.
        arguments: Its ``sys.argv[1:]``.
        environ: Its settings.
        path: The only folder for its modules; None: this repository, and the installed packages.
    """

    name: str
    code: str
    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    path: Path | str | None = None

    def milliseconds(self) -> float:
        """Return the time from its start to the end of its code, in milliseconds.

        Raises:
            CannotMeasure: The program failed.
        """
        started = time.perf_counter()
        self._run(_END)
        return (time.perf_counter() - started) * 1e3

    def look(self, modules: Sequence[str] = ()) -> tuple[float, list[str]]:
        """Return the peak of its memory in MiB, and which of these modules it has loaded; errors as above."""
        last_line = self._run(_LOOK.format(modules=tuple(modules)), subprocess.PIPE).splitlines()[-1]
        kib, *loaded = last_line.split()
        return int(kib) / 1024, loaded

    def _run(self, ending: str, stdout: int = subprocess.DEVNULL) -> str:
        basics = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(self.path or ROOT)}
        flags = ["-S", "-B"] if self.path else []
        command = [sys.executable, *flags, "-c", self.code + ending, *self.arguments]
        done = subprocess.run(command, env={**basics, **self.environ}, stdout=stdout, text=True, check=False)
        if done.returncode != 0:
            raise CannotMeasure(f"{self.name!r} failed in a process of its own, with exit status {done.returncode}.")
        return done.stdout or ""


def in_turns(programs: Sequence[Program], rounds: int, name: str) -> dict[Program, list[float]]:
    """Start each program once a round, in random order; return the milliseconds of each."""
    times: dict[Program, list[float]] = {program: [] for program in programs}
    for index in range(rounds):
        for program in random.sample(programs, len(programs)):
            times[program].append(program.milliseconds())
        if (index + 1) % 5 == 0 or index + 1 == rounds:
            print(f"{name}: round {index + 1} of {rounds}", file=sys.stderr)
    return times


FLOOR_HEADER = ("A fresh process", "x its floor", "ms", "x its floor, over bare", "x its floor's memory", "peak MiB")


def beside_floors(
    times: Mapping[Program, Sequence[float]], bare: Program, floors: Mapping[Program, Sequence[Program]]
) -> list[list[str]]:
    """Return the rows below `FLOOR_HEADER`: the bare interpreter, and each floor with the programs compared with it.

    Args:
        times: The result of `in_turns`.
        bare: The bare interpreter.
        floors: Each floor, and its programs.
    """
    memory = {program: program.look()[0] for program in times}

    def over_bare(program: Program) -> list[float]:
        return [own - least for own, least in zip(times[program], times[bare], strict=True)]

    def row(program: Program, floor: Program | None = None) -> list[str]:
        against = ["", "", ""]
        if floor:
            against = [
                number(paired_ratio(times[program], times[floor]), 3),
                number(paired_ratio(over_bare(program), over_bare(floor)), 3),
                number(memory[program] / memory[floor], 2),
            ]
        time = number(median(times[program]), 1)
        return [program.name, against[0], time, against[1], against[2], number(memory[program], 1)]

    rows = [row(bare)]
    for floor, programs in floors.items():
        rows += [row(floor), *(row(program, floor) for program in programs)]
    return rows
