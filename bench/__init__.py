"""Measures the receiver on this machine: CPU per event, start time, events per second.

Ratios come first, because they hold on other machines too: everything in one table was measured in turns, in one run.
Nothing here passes or fails by speed.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """The command's options.

    Attributes:
        seconds: The duration of one round of core, or one measurement of heroku.
        rounds: The number of measurements of everything.
        connections: The number of connections to Heroku's receiver, and to PostgreSQL.
        before: The commit that ``before`` compares with.
        rows: The most events that ``growth`` stores.
    """

    seconds: int
    rounds: int
    connections: int
    before: str
    rows: int = 1_000_000


class CannotMeasure(Exception):
    """A requirement of this part of the bench is missing. ``str()`` tells the user what to do."""
