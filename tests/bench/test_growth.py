"""``python -m bench growth``: each load reaches both receivers, and both databases are filled."""

import shutil
from dataclasses import replace

import pytest

from bench import Options

growth = pytest.importorskip("bench.growth")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk: on Debian, apt-get install wrk")
def test_everything_that_grows_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_GROWTHS", [replace(each, values=each.values[-1:]) for each in growth._GROWTHS])
    monkeypatch.setattr(growth, "_MOST_BYTES", 16 * 1024 * 1024)
    sections = growth.measure(Options(seconds=1, rounds=1, connections=1, before="HEAD", rows=10_000))
    rows = {section.title: [row[0] for row in section.rows] for section in sections}
    assert rows == {
        "growth: connections": ["256"],
        "growth: bytes": ["65,536"],
        "growth: samples": ["30"],
        "growth: rows": ["1,000", "10,000"],
    }
    for section in sections:
        for row in section.rows:
            assert len(row) == len(section.header), section.title
            assert all(float(cell.replace(",", "")) >= 0 for cell in row), section.title
    assert [section.notes[1] for section in sections[:3]] == ["Not answered 2xx: 0."] * 3
