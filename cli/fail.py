"""Ends a command that cannot run."""

from typing import NoReturn

import typer

from cli import CommandError
from core.text import printable


def fail(error: CommandError) -> NoReturn:
    """Print the error, and exit."""
    # It may quote a server, a file name or a damaged database.
    typer.echo("\n".join(map(printable, str(error).split("\n"))), err=True)
    raise typer.Exit(error.exit_code)
