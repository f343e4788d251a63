"""``python -m bench heroku``: the receiver, Flask and pgbench each store events."""

import shutil

import pytest

from bench import Options

throughput = pytest.importorskip("bench.throughput")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk: on Debian, apt-get install wrk")
def test_every_program_stores_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "_OTHER_CONNECTIONS", ())
    monkeypatch.setattr(throughput, "_REQUESTS", 1_000)
    section = throughput.measure(Options(seconds=1, rounds=1, connections=2, before="HEAD"))
    assert [row[0].partition(",")[0] for row in section.rows] == ["Heroku's receiver", "Flask", "pgbench"]
    for name, *cells in section.rows:
        assert float(cells[2].replace(",", "")) > 0, name
        assert cells[-1] == "0", name
    assert "in the table: yes" in section.notes[0]
