"""Every store and its faults, collected from each tests/<folder>/stores.py.

Such a module has `STORES`, and optionally:

- `DATABASES`: what makes a `Database` that has the views.
- `fetches(url, monkeypatch)`: calls that fetch a key, a secret or a token from a service at ``url``, and those calls
  that one event takes several of.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.contract.store import Database, Entry
from tests.support.found import found

_MODULES = found("stores")
STORES: dict[str, Entry] = {name: entry for module in _MODULES for name, entry in module.STORES.items()}
DATABASES: dict[str, Callable[[Path, pytest.FixtureRequest], AbstractContextManager[Database]]] = {
    name: factory for module in _MODULES for name, factory in getattr(module, "DATABASES", {}).items()
}
FETCHES: list[Callable[[str, pytest.MonkeyPatch], dict[str, Callable[[], object]]]] = [
    module.fetches for module in _MODULES if hasattr(module, "fetches")
]


def meeting(*faults: str, grouped: bool = False) -> pytest.MarkDecorator:
    """Run a test for each store (or each that groups events), and each of these faults that it supports.

    With ``slow`` it is a long test: it takes as long as with ``silent``, and ends by the same time limits.
    """
    pairs = [
        pytest.param(name, fault, marks=pytest.mark.long if fault == "slow" else ())
        for name, store in STORES.items()
        for fault in faults
        if fault in store.faults and store.is_grouped >= grouped
    ]
    return pytest.mark.parametrize(("harness", "fault"), pairs, indirect=["harness"])


def grouped() -> pytest.MarkDecorator:
    """Run a test for each store that groups events."""
    return pytest.mark.parametrize(
        "harness", [name for name, store in STORES.items() if store.is_grouped], indirect=True
    )
