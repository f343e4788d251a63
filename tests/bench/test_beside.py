"""``python -m bench peers``: every peer, and the receiver beside it, takes deliveries."""

import pytest

from bench import Options

pytest.importorskip("proton", reason="no python-qpid-proton: install a C compiler, then `make test`")
beside = pytest.importorskip("bench.beside")


@pytest.mark.long
def test_every_pair_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_EVENTS", 4)
    section = beside.measure(Options(seconds=1, rounds=1, connections=1, before="HEAD"))
    assert section.rows
    for name, *cells in section.rows:
        assert len(cells) == len(section.header) - 1, name
        assert all(float(cell.replace(",", "")) > 0 for cell in cells), name
