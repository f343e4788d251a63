"""Ends a command that cannot run."""

from typing import NoReturn

import typer

from cli import CommandError


def fail(error: CommandError) -> NoReturn:
    """Print the error, and exit."""
    typer.echo(str(error), err=True)
    raise typer.Exit(error.exit_code)
