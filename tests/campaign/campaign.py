"""One campaign: a load, a series of faults, and the checks at the end."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.support.ledger import Ledger, Post
from tests.support.load import Load

# Of so many deliveries one is sent twice on purpose.
DUPLICATES = 20
# The deliveries of one fault in one round, where there are enough of them.
SHARE = 15_000
# Seconds in which everything is acknowledged once a fault is over.
RECOVERY = 30.0

Fault = Callable[[Ledger], object]


@dataclass
class Target:
    """A receiver that runs, and the hands on what is behind it.

    Attributes:
        connect: Makes what one sender sends with.
        stores: Reads the bodies in each place where events are.
        faults: By their names. Each returns when it is over.
        renew: Puts a receiver that does not recover on its feet again, for the next fault.
        threads: How many deliveries are on their way at once.
        is_unique: Whether the store promises that nothing is in it twice, whatever happens.
    """

    connect: Callable[[], Post]
    stores: Callable[[], Iterable[Iterable[bytes]]]
    faults: Mapping[str, Fault]
    renew: Callable[[], object] = lambda: None
    threads: int = 16
    is_unique: bool = True


class Stopped(Exception):
    """The campaign ends before all is sent."""


@dataclass
class Campaign:
    """Sends, injects, and counts.

    Attributes:
        name: Of the target.
        target: As given.
        ledger: What came of it.
        say: Takes a line about how far it is.
        deadline: ``time.monotonic()`` seconds at which it stops.
        stopping: Set to have it stop before.
        problems: What went wrong that no column of the table shows.
    """

    name: str
    target: Target
    ledger: Ledger
    say: Callable[[str], object]
    deadline: float
    stopping: threading.Event
    problems: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Send everything, with each fault at least once."""
        faults = self.target.faults
        deliveries, self.ledger.allowed = self.ledger.allowed, 0
        rounds = max(1, deliveries // (len(faults) * SHARE))
        injections = [*faults.items()] * rounds
        load = Load(self.ledger, self.target.connect, self.target.threads)
        load.start()
        try:
            for place, (fault, inject) in enumerate(injections, 1):
                self._inject(fault, inject, deliveries * place // len(injections))
                self.say(f"{self.name}: {place} of {len(injections)}, {fault}: {self.ledger.acknowledged} acknowledged")
        except Stopped as error:
            self.problems.append(str(error))
        finally:
            load.stop()
        for stored in self.target.stores():
            try:
                self.ledger.count(stored)
            except Exception as error:  # a database that cannot be read is a finding, and the others are read
                self.problems.append(f"A store cannot be read: {error}")
        self.ledger.close()

    def _inject(self, fault: str, inject: Fault, until: int) -> None:
        """Have the fault when a third of its deliveries is sent; return when all of them are acknowledged.

        The first third belongs to the fault too: they are what it may take along.
        """
        ledger = self.ledger
        ledger.begin(fault)
        third = ledger.sent + (until - ledger.sent) // 3
        ledger.allowed = until
        self._wait(lambda: ledger.sent >= third, RECOVERY)
        ledger.begin(fault)
        try:
            inject(ledger)
        except Exception as error:  # what an earlier fault has left cannot be used
            self._start_anew(f"{fault}: {error}.")
        if not self._wait(lambda: ledger.is_settled, RECOVERY):
            self._start_anew(f"{fault}: not all is acknowledged {RECOVERY:.0f} s after it.")
            if not self._wait(lambda: ledger.is_settled, RECOVERY):
                raise Stopped(f"{fault}: not all is acknowledged after a new start.")

    def _start_anew(self, problem: str) -> None:
        self.problems.append(f"{problem} Started anew.")
        self.target.renew()

    def _wait(self, is_so: Callable[[], bool], seconds: float) -> bool:
        ends = time.monotonic() + seconds
        while not is_so():
            if self.stopping.is_set() or time.monotonic() > self.deadline:
                raise Stopped(f"Stopped after {self.ledger.sent} deliveries.")
            if time.monotonic() > ends:
                return False
            time.sleep(0.005)  # short, so that the load goes on while the fault happens
        return True
