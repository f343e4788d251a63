"""dtconn in a process of its own that starts at once: a server that has imported everything forks it."""

import multiprocessing
import os
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

_IMPORTED = ["cli.main", "cli.proof", "cli.tables", "cli.targets", "disruptive", __name__]


def start(arguments: list[str], environ: Mapping[str, str], folder: Path, *, unread: bool = False) -> ForkServerProcess:
    """Start dtconn.

    Args:
        arguments: Its arguments.
        environ: Its whole environment.
        folder: Its working folder, which gets its output as the file ``output``.
        unread: Whether its standard output is a pipe that nobody reads any more.
    """
    process = _context().Process(target=_run, args=(arguments, dict(environ), folder, unread), daemon=True)
    process.start()
    return process


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        # It does not have the path of this process.
        patch.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
    return context


def _run(arguments: list[str], environ: dict[str, str], folder: Path, unread: bool) -> None:
    from cli import places
    from cli.main import app
    from local import deployment

    # No var/ of this clone.
    places._CLONE = deployment._CLONE = folder
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(output, number)
    if unread:
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)
    app(arguments, prog_name="dtconn")
