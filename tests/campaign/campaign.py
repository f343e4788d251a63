"""One campaign: a load, a series of faults, and the checks at the end."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.support.ledger import Ledger, Post
from tests.support.load import Load

# One in this many deliveries is sent twice on purpose.
DUPLICATES = 20
# Deliveries per fault and round, if there are enough.
SHARE = 15_000
# Seconds within which everything is acknowledged after a fault.
RECOVERY = 30.0

Fault = Callable[[Ledger], object]


@dataclass
class Target:
    """A running receiver, and access to its store.

    Attributes:
        connect: Creates the connection of a sender.
        stores: Reads the bodies in each store.
        faults: The faults by name. Each returns when it is over.
        renew: Restarts a receiver that does not recover, for the next fault.
        threads: The number of concurrent deliveries.
        is_unique: Whether the store guarantees that no event is stored twice.
    """

    connect: Callable[[], Post]
    stores: Callable[[], Iterable[Iterable[bytes]]]
    faults: Mapping[str, Fault]
    renew: Callable[[], object] = lambda: None
    threads: int = 16
    is_unique: bool = True


class Stopped(Exception):
    """The campaign ends before everything is sent."""


@dataclass
class Campaign:
    """Sends, injects, and counts.

    Attributes:
        name: The target's name.
        target: The given target.
        ledger: The outcomes.
        say: Prints a line of progress.
        deadline: ``time.monotonic()`` seconds at which it stops.
        stopping: Set this to stop earlier.
        problems: Problems that the table does not show.
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
            except Exception as error:  # an unreadable database is a finding; read the others
                self.problems.append(f"A store cannot be read: {error}")
        self.ledger.close()

    def _inject(self, fault: str, inject: Fault, until: int) -> None:
        """Inject the fault when a third of its deliveries is sent; return when all of them are acknowledged.

        The first third belongs to the fault too, because the fault may lose these deliveries.
        """
        ledger = self.ledger
        ledger.begin(fault)
        third = ledger.sent + (until - ledger.sent) // 3
        ledger.allowed = until
        self._wait(lambda: ledger.sent >= third, RECOVERY)
        ledger.begin(fault)
        try:
            inject(ledger)
        except Exception as error:  # an earlier fault has left an unusable state
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
            time.sleep(0.005)  # short, so that the load continues during the fault
        return True
