"""Servers that all processes of pytest-xdist share, instead of starting one each."""

import fcntl
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

Server = TypeVar("Server")


class SharedServers:
    """The shared servers that this process uses. No test may kill or freeze one, or expect it to be empty.

    Args:
        folder: A folder that the processes share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used = ExitStack()

    def use(self, name: str, start: Callable[[], AbstractContextManager[Server]]) -> Server:
        """Return the server of that name: started here, or a copy of what describes the one that runs already."""
        return self._used.enter_context(_shared(self._folder / name, start))

    def leave(self) -> None:
        """Use no server any more. Those that were started here are stopped when no other process uses them."""
        self._used.close()


@contextmanager
def _shared(path: Path, start: Callable[[], AbstractContextManager[Server]]) -> Iterator[Server]:
    door, description = path.with_suffix(".door"), path.with_suffix(".pickle")
    with path.with_suffix(".users").open("w") as users, ExitStack() as started:
        with _locked(door):
            if description.exists():
                server: Server = pickle.loads(description.read_bytes())
            else:
                server = started.enter_context(start())
                # Before it stops, wait for the others.
                started.callback(fcntl.flock, users, fcntl.LOCK_EX)
                description.write_bytes(pickle.dumps(server))
                started.callback(_remove, description, door)
            fcntl.flock(users, fcntl.LOCK_SH)
        yield server


def _remove(description: Path, door: Path) -> None:
    with _locked(door):
        description.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
