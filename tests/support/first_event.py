"""``dtconn first-event`` on a receiver that acknowledges everything, and on a store of the test's choice."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.support.deliveries import SECRET
from tests.support.loopback import Reply, loopback


def first_event(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, wait: str) -> Result:
    """Run it in a folder of the test's own, for the local receiver, whose store is then read at ``source``."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DT_DATABASE", source)
    Path("var").mkdir(exist_ok=True)
    Path("var/signature-secret").write_text(SECRET)
    with loopback(lambda _: Reply(200, headers={"Event-Outcome": "stored"})) as receiver:
        arguments = ["first-event", "local", "--url", receiver.url, "--yes", "--wait", wait]
        return CliRunner().invoke(app, arguments)
