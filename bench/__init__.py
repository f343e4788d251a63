"""Measures the receiver on this machine: what an event costs, how it starts, how many a second it keeps.

Ratios come first, because they hold on other machines too: all that is compared in one table was measured in turns, in
one run. Nothing here passes or fails by speed.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        seconds: How long one round of core, or one measurement of heroku, takes.
        rounds: How often everything is measured.
        connections: Of the load on Heroku's receiver, and on PostgreSQL.
        before: The commit that ``before`` compares with.
    """

    seconds: int
    rounds: int
    connections: int
    before: str


class CannotMeasure(Exception):
    """Something that this part of the bench needs is not there. ``str()`` says to a person what to do."""
