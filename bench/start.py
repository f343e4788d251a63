"""How a fresh process starts: the time to its first answered delivery, and its memory."""

import os

from bench import Options
from bench.programs import MIN_ROUNDS, Program, in_turns
from bench.report import Section, number
from bench.rounds import RATIOS, median, paired_ratio
from bench.samples import Sample
from core.verify.signature import ES256_HEADER, HS256_HEADER
from tests.support.deliveries import ORGANIZATION, SECRET
from tests.support.es256 import JWKS

_HEADER = ("A fresh process", "x `import jwt`", "ms over bare", "ms", "MiB over bare", "peak MiB")
_HEAVY = ("jwt", "cryptography")

_RECEIVE = """
import os, sys
from core.http import Request
from core.receiver import Receiver
from core.settings import Settings
from core.stores.contract import Outcome

class Store:
    def put(self, event, deadline):
        return Outcome.STORED

name, token, body = sys.argv[1:]
request = Request("POST", "/", [(name, token)], os.fsencode(body))
if Receiver(Settings.load(os.environ), Store()).handle(request).status != 200:
    os._exit(1)
"""


def measure(options: Options) -> Section:
    """Start everything in turns, ``options.rounds`` times but at least 15."""
    rounds = max(options.rounds, MIN_ROUNDS)
    bare, pyjwt, hs256, _ = programs = _programs()
    memory, loaded = {}, {}
    for program in programs:  # also writes missing bytecode
        memory[program], loaded[program] = program.look(_HEAVY)
    times = in_turns(programs, rounds, "import")

    def over_bare(program: Program) -> list[float]:
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


def _programs() -> list[Program]:
    """Return what is compared: first the bare interpreter, then PyJWT, core with HS256, core with ES256."""
    sample = Sample()
    body = os.fsdecode(sample.body)
    return [
        Program("bare Python", "pass"),
        Program("`import jwt`", "import jwt"),
        Program("core, HS256", _RECEIVE, (HS256_HEADER, sample.hs256, body), {"DT_SIGNATURE_SECRET": SECRET}),
        Program(
            "core, ES256",
            _RECEIVE,
            (ES256_HEADER, sample.es256, body),
            {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS},
        ),
    ]
