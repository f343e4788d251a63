"""Ends a command that cannot run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from cli import CommandError


def fail(error: CommandError) -> NoReturn:
    """Print the error, and exit."""
    typer.echo(str(error), err=True)
    raise typer.Exit(error.exit_code)


@contextmanager
def printing() -> Iterator[None]:
    """Print what a command found; if it cannot be written, as on a full disk, end the command with one sentence."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`
        raise
    except OSError as error:
        # What is still in the buffer would fail again at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        fail(CommandError(f"The output cannot be written: {error.strerror or type(error).__name__}."))
