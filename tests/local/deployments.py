"""The local receiver, which somebody restarts whenever its secret changes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.contract.deployed import Deployed, Factory
from tests.support.restarts import restarting


@contextmanager
def local(secret: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.chdir(folder)
    # No var/ of this clone instead of a file that is not there.
    for module in ("cli.places", "local.deployment"):
        patch.setattr(f"{module}._CLONE", folder)
    path = folder / "var" / "signature-secret"
    path.parent.mkdir()
    path.write_text(secret)
    ended = threading.Event()
    with restarting("local", folder) as program:
        program.start({})

        def restart() -> None:
            text = secret
            while not ended.wait(0.1):
                with suppress(OSError):  # it may be moved away
                    if (found := path.read_text()) != text:
                        text = found
                        program.start({})

        def put(text: str) -> None:
            """Replace the file in one step."""
            new = path.with_name("new")
            new.write_text(text)
            new.replace(path)

        person = threading.Thread(target=restart)
        person.start()
        try:
            yield Deployed(["local"], f"http://127.0.0.1:{program.port}/", path.read_text, put)
        finally:
            ended.set()
            person.join()


DEPLOYMENTS: dict[str, Factory] = {"local": local}
