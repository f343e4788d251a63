"""``dtconn first-event`` right after a deployment, whose role for reading the table is not in effect yet."""

from pathlib import Path

import pytest

from tests.support.first_event import first_event
from tests.support.loopback import Call, Reply, google_fault, loopback


def test_it_waits_for_the_role(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(_: Call) -> Reply:
        is_early = len(there.calls) <= 2
        return google_fault(403, "PERMISSION_DENIED", "no") if is_early else google_fault(404, "NOT_FOUND", "no")

    with loopback(answer) as there:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", there.url)
        result = first_event(monkeypatch, tmp_path, "bigquery:project.dataset.table", "60")
        assert result.exit_code == 1
        assert "Cannot find the BigQuery table" in result.stderr, result.output
        assert len(there.calls) >= 3
