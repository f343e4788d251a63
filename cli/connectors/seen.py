"""What ``dtconn watch`` remembers from one look to the next."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cli import CommandError


@dataclass(slots=True)
class Seen:
    """What was known of a connector at the last look.

    Attributes:
        status: Its status.
        successes: Those of the three hours before.
        errors: Likewise.
        failing_since: Since when no success was seen, as RFC 3339; None while there are some.
        warned: How many of `cli.connectors.watch.WARNINGS` were given.
    """

    status: str
    successes: int = 0
    errors: int = 0
    failing_since: str | None = None
    warned: int = 0


@dataclass(slots=True)
class State:
    """Everything.

    Attributes:
        connectors: By project and id, as ``PROJECT/ID``.
        is_blind: Whether DT Cloud did not tell at the last look.
        untold: The changes that are still to be passed on, by way: ``webhook`` or ``exec``.
    """

    connectors: dict[str, Seen] = field(default_factory=dict)
    is_blind: bool = False
    untold: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "State":
        """Read the file; a missing one has nothing.

        Raises:
            CommandError: It is another file.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            connectors = {key: Seen(**each) for key, each in found["connectors"].items()}
            numbers = [number for each in connectors.values() for number in (each.successes, each.errors, each.warned)]
            untold = {way: [dict(each) for each in changes] for way, changes in found["untold"].items()}
            if all(isinstance(number, int) for number in numbers):
                return cls(connectors, found["isBlind"] is True, untold)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            pass
        raise CommandError(f"{path} is not a state of dtconn watch. Remove it, or name another file with --state.", 2)

    def write(self, path: Path) -> None:
        """Replace the file in one step.

        Raises:
            CommandError: It cannot be written.
        """
        connectors = {key: asdict(each) for key, each in self.connectors.items()}
        part = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(
                json.dumps({"connectors": connectors, "isBlind": self.is_blind, "untold": self.untold}),
                encoding="utf-8",
            )
            part.replace(path)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}. Name another file with --state.") from None
