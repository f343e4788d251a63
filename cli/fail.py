"""How a command ends that could not do its work."""

from typing import NoReturn

import typer

from cli import CommandError


def fail(error: CommandError) -> NoReturn:
    """Print the sentences, and end the process."""
    typer.echo(str(error), err=True)
    raise typer.Exit(error.exit_code)
