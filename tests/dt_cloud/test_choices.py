"""Options for what the documents do not define: one test for each."""

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.dt_cloud.test_delivery import HOUR, starts
from tests.support.dt_cloud import CONNECTORS, DtCloud, Loopback, Refused, always, down, dt_cloud

NEW = {"type": "HTTP_PUSH", "httpConfig": {"url": "http://127.0.0.1:9/"}}


@pytest.fixture
def chosen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DtCloud]:
    """A cloud with a test's options."""
    with dt_cloud(tmp_path, *request.param) as server:
        yield server


@pytest.mark.parametrize("chosen", [["--signs", "once"]], indirect=True)
def test_option_signs_once_repeats_the_signature(chosen: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    chosen.connector(receiver.url, httpConfig={"signatureSecret": "s" * 32})
    chosen.clock(isPaused=True)
    chosen.publish(chosen.sensor())
    attempts = chosen.stepped(chosen.deliveries()[0]["id"], 3)
    assert len({str(each["headers"]) for each in attempts}) == 1
    # The first signature survives a restart.
    assert chosen.stop() == 0
    chosen.start()
    chosen.clock(jump=HOUR)
    assert len({str(each["headers"]) for each in chosen.attempts(chosen.deliveries()[0]["id"], 4)}) == 1


@pytest.mark.parametrize("chosen", [["--success", "200"]], indirect=True)
def test_option_success_accepts_only_200(chosen: DtCloud, receiver: Loopback) -> None:
    receiver.answering = always(201)
    chosen.connector(receiver.url)
    chosen.publish(chosen.sensor())
    chosen.attempts(chosen.deliveries()[0]["id"], 1)
    assert chosen.books() == (1, 0, 1, 0, 0)


@pytest.mark.parametrize("chosen", [["--creators", "admin"]], indirect=True)
def test_option_creators_allows_only_administrators(chosen: DtCloud) -> None:
    with pytest.raises(Refused) as refused:
        chosen.call("POST", CONNECTORS, NEW, "project.developer")
    assert refused.value.status == 403
    project = CONNECTORS.rpartition("/")[0]
    permissions = chosen.call("GET", f"{project}/permissions", role="project.developer")["permissions"]
    assert "dataconnector.create" not in permissions
    assert "dataconnector.update" in permissions
    assert chosen.call("POST", CONNECTORS, NEW, "project.admin")


@pytest.mark.parametrize("chosen", [[], ["--creators", "admin"]], indirect=True)
def test_the_printed_key_may_create_and_the_others_are_printed_too(chosen: DtCloud) -> None:
    found = dict(re.findall(r"^export (\w+)=(\S+)$", chosen.output(), re.MULTILINE))
    role = "project.admin" if chosen.arguments else "project.developer"
    account = chosen.accounts[role]
    assert (found["DT_API_KEY_ID"], found["DT_API_KEY_SECRET"]) == (account.key_id, account.secret)
    assert chosen.call("POST", CONNECTORS, NEW, role)
    for each in chosen.accounts.values():
        assert re.search(rf"^# +{each.role} +{each.key_id}:{each.secret}$", chosen.output(), re.MULTILINE)


@pytest.mark.parametrize("chosen", [["--default-label", "name", "--default-label", "floor"]], indirect=True)
def test_default_labels(chosen: DtCloud) -> None:
    assert chosen.call("POST", CONNECTORS, NEW)["labels"] == ["name", "floor"]
    assert chosen.call("POST", CONNECTORS, {**NEW, "labels": []})["labels"] == []


@pytest.mark.parametrize("chosen", [["--backoff", "table"]], indirect=True)
def test_the_tables_back_off(chosen: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    chosen.connector(receiver.url)
    chosen.clock(isPaused=True)
    chosen.publish(chosen.sensor())
    found = starts(chosen.stepped(chosen.deliveries()[0]["id"], 9))
    assert [after - before for before, after in pairwise(found)] == [
        8, 16, 32, 64, 128, 1024, 2048, 3600,
    ]  # fmt: skip


@pytest.mark.parametrize("chosen", [["--hidden-for", "4"]], indirect=True)
def test_option_hidden_for_answers_404(chosen: DtCloud) -> None:
    path = f"/{chosen.call('POST', CONNECTORS, NEW)['name']}"
    began = time.monotonic()
    with pytest.raises(Refused) as refused:
        chosen.call("GET", path)
    assert refused.value.status == 404
    while chosen.send("GET", path, role="project.admin")[0] == 404:
        time.sleep(0.2)
    assert 3.7 < time.monotonic() - began < 15


@pytest.mark.parametrize("chosen", [["--max-connectors", "2"]], indirect=True)
def test_option_max_connectors(chosen: DtCloud) -> None:
    for _ in range(2):
        chosen.call("POST", CONNECTORS, NEW)
    with pytest.raises(Refused, match="at most 2"):
        chosen.call("POST", CONNECTORS, NEW)
