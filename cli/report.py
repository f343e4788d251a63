"""What a command did, as lines or as JSON."""

import json
from dataclasses import dataclass, field
from typing import Any

import typer


@dataclass(slots=True)
class Report:
    """What was done, for a person as lines, and for a script as one object."""

    quiet: bool
    as_json: bool
    found: dict[str, Any] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Print a line for a person."""
        if not self.quiet and not self.as_json:
            typer.echo(line)

    def close(self) -> None:
        """Print the object for a script."""
        if self.as_json:
            typer.echo(json.dumps(self.found))
