"""DT's official client, as dtconn configures it."""

import disruptive
import pytest

_CONFIGURATION = ("log_level", "request_timeout", "request_attempts", "base_url", "emulator_base_url", "default_auth")


def keep_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client as it was after the test: dtconn configures it for its process, which is that of the tests."""
    for name in _CONFIGURATION:
        monkeypatch.setattr(disruptive, name, getattr(disruptive, name))
