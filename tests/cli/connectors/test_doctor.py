"""``dtconn doctor``: each cause gets its verdict."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from cli.connectors.certificate import look_at
from cli.connectors.checks import of_metrics
from cli.connectors.values import Metrics
from core.receiver import UNVERIFIED
from tests.cli.connectors.between import Between
from tests.cli.connectors.conftest import Dtconn, Receiver
from tests.support.certificates import serving
from tests.support.desk import SECRET
from tests.support.dt_cloud import FIRST_PROJECT, Call, DtCloud, Reply, loopback
from tests.support.loopback import DROPPED

WELL, ILL, UNKNOWN = range(3)


@pytest.fixture
def connect(cloud: DtCloud, receiver: Receiver) -> Callable[..., str]:
    """Create a connector, by default one that is as it should be."""

    def make(url: str = "", **given: Any) -> str:
        config = {"signatureSecret": SECRET, **given.pop("httpConfig", {})}
        return cloud.connector(url or receiver.url, **{"labels": ["name"], "httpConfig": config, **given})

    return make


def verdicts(dtconn: Dtconn, *arguments: str, code: int, **environ: str | None) -> dict[str, dict[str, Any]]:
    """Return the findings by topic."""
    result = dtconn("doctor", *arguments, "--json", **environ)
    assert result.exit_code == code, result.output
    return {each["topic"]: each for each in json.loads(result.stdout)["findings"]}


def test_a_connector_that_is_well(dtconn: Dtconn, connect: Callable[..., str]) -> None:
    connect()
    found = verdicts(dtconn, code=WELL)
    assert {topic: each["level"] for topic, each in found.items() if topic not in ("netrc", "proxy", "devices")} == {
        "organization": "ok", "state": "ok", "deliveries": "ok", "latency": "ok", "events": "ok", "labels": "ok",
        "certificate": "note", "endpoint": "ok", "clock": "ok", "secret": "ok",
    }  # fmt: skip
    assert "took a token issued now" in found["clock"]["text"]
    result = dtconn("doctor", role="project.user")
    assert result.exit_code == WELL
    assert "The receiver takes the connector's secret." in result.stdout
    assert dtconn("doctor", "--quiet").output == ""


def test_no_connector_at_all(dtconn: Dtconn, cloud: DtCloud) -> None:
    assert verdicts(dtconn, code=ILL)["state"]["command"] == f"dtconn connect URL --project {FIRST_PROJECT}"


def test_a_disabled_connector(dtconn: Dtconn, connect: Callable[..., str]) -> None:
    number = connect(status="USER_DISABLED")
    assert verdicts(dtconn, code=ILL)["state"]["command"] == f"dtconn enable {number} --project {FIRST_PROJECT}"


def test_types_that_the_filter_withholds_and_labels(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, connect: Callable[..., str]
) -> None:
    device = cloud.sensor("temperature", name="Kitchen", floor="2")
    cloud.publish(device, temperature={"value": 21.5})
    cloud.publish(device, touch={})
    connect(events=["touch"], labels=[])
    found = verdicts(dtconn, "--label", "name", "--label", "floor", code=WELL)
    assert "temperature (1 devices)" in found["events"]["text"]
    for topic, options in (
        ("events", ["--event=touch", "--event=temperature"]),
        ("labels", ["--label=name", "--label=floor"]),
    ):
        words = shlex.split(found[topic]["command"])
        assert words == ["dtconn", "connect", receiver.url, *options, "--project", FIRST_PROJECT]
        # As it is printed, it mends.
        assert dtconn(*words[1:]).exit_code == WELL
    found = verdicts(dtconn, "--label", "name", "--label", "floor", code=WELL)
    assert (found["events"]["level"], found["labels"]["level"]) == ("ok", "ok")


def test_no_command_has_an_address_with_a_key(dtconn: Dtconn, cloud: DtCloud, connect: Callable[..., str]) -> None:
    connect("http://127.0.0.1:9/?code=hidden", labels=[])
    cloud.sensor("touch", name="Kitchen")
    result = dtconn("doctor")
    assert f"dtconn connect URL --label=name --project {FIRST_PROJECT}" in result.stdout
    assert "hidden" not in result.output


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(401, b""), "not public"),
        (Reply(403, b"<html>"), "not public"),
        (Reply(404, b""), "no function at this URL"),
        (Reply(200, b""), "takes for stored"),
        (Reply(502, b""), "answers 502"),
        (None, "cannot be reached"),
    ],
)
def test_the_platforms_answer_is_told_from_the_receivers(
    dtconn: Dtconn, connect: Callable[..., str], reply: Reply | None, said: str
) -> None:
    with loopback(lambda _: reply) as server:
        connect(server.url)
        found = verdicts(dtconn, code=ILL)
    assert (found["endpoint"]["level"], said in found["endpoint"]["text"]) == ("ill", True)


def test_the_receiver_refuses_the_secret(dtconn: Dtconn, connect: Callable[..., str]) -> None:
    connect(httpConfig={"signatureSecret": "another-secret-of-the-tests"})
    found = verdicts(dtconn, code=ILL)
    assert (found["endpoint"]["level"], found["secret"]["level"]) == ("ok", "ill")


def test_no_secret_is_a_note(dtconn: Dtconn, connect: Callable[..., str]) -> None:
    connect(httpConfig={"signatureSecret": ""})
    assert verdicts(dtconn, code=WELL)["secret"]["level"] == "note"


def test_a_store_that_is_down_is_the_receivers_fault(dtconn: Dtconn, connect: Callable[..., str]) -> None:
    def answer(call: Call) -> Reply:
        if "x-dt-signature" not in call.headers:
            return Reply(401, UNVERIFIED.body)
        return Reply(503, b'{"type":"urn:problem-type:data-connector:unavailable"}')

    with loopback(answer) as server:
        connect(server.url)
        assert "answers 503" in verdicts(dtconn, code=ILL)["secret"]["text"]


@pytest.mark.parametrize(("seconds", "level", "code"), [(300, "ill", ILL), (-300, "ill", ILL), (40, "note", WELL)])
def test_clock_skew(
    dtconn: Dtconn, connect: Callable[..., str], seconds: int, level: str, code: int
) -> None:  # fmt: skip
    def answer(call: Call) -> Reply:
        date = {"Date": format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)}
        if "x-dt-signature" in call.headers:
            return Reply(200, b"", {"event-outcome": "stored", **date})
        return Reply(401, UNVERIFIED.body, date)

    with loopback(answer) as server:
        connect(server.url)
        assert verdicts(dtconn, code=code)["clock"]["level"] == level


def test_a_clock_is_compared_with_dts_not_with_this_machines(
    dtconn: Dtconn, connect: Callable[..., str], cloud: DtCloud
) -> None:
    """As if this machine's were five minutes late: DT Cloud's and the endpoint's are ahead of it alike."""
    date = {"Date": format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)}
    there = Between(cloud)

    def answer(call: Call) -> Reply:
        found = there(call)
        assert found
        return replace(found, headers={**found.headers, **date})

    def silent_clock(call: Call) -> Reply | None:
        return DROPPED if call.path == "/v2" else there(call)

    with loopback(silent_clock) as api, loopback(lambda _: Reply(401, UNVERIFIED.body, date)) as server:
        number = connect(server.url)
        clock = verdicts(dtconn, code=ILL, DT_API_URL=api.url)["clock"]
        assert "ahead of this machine's" in clock["text"]
        cloud.desk("DELETE", f"/connectors/{number}")
    with loopback(answer) as api, loopback(lambda _: Reply(401, UNVERIFIED.body, date)) as server:
        connect(server.url)
        result = dtconn("doctor", "--json", DT_API_URL=api.url)
    found = [each for each in json.loads(result.stdout)["findings"] if each["topic"] == "clock"]
    assert [each["level"] for each in found] == ["note", "ok"]
    assert "behind DT Cloud's" in found[0]["text"]
    assert "agrees with DT Cloud's" in found[1]["text"]


def test_clock_of_an_endpoint_with_an_unreadable_date_cannot_be_told(
    dtconn: Dtconn, connect: Callable[..., str]
) -> None:
    with loopback(lambda _: Reply(401, UNVERIFIED.body, {"Date": "today"})) as server:
        connect(server.url)
        clock = verdicts(dtconn, code=ILL)["clock"]
    assert (clock["level"], clock["text"][:11]) == ("note", "Cannot tell")


def test_organization(dtconn: Dtconn, connect: Callable[..., str]) -> None:
    connect()
    assert verdicts(dtconn, code=ILL, DT_ORGANIZATION_ID="c0md3pm0p7bet3vico8g")["organization"]["level"] == "ill"
    found = verdicts(dtconn, code=WELL, DT_ORGANIZATION_ID=None)["organization"]
    assert found["command"].startswith("export DT_ORGANIZATION_ID=")


def test_two_connectors_on_one_url_and_a_full_project(dtconn: Dtconn, connect: Callable[..., str]) -> None:
    first, second = connect(), connect()
    for number in range(8):
        connect(f"http://127.0.0.1:9/{number}", status="USER_DISABLED")
    found = verdicts(dtconn, first, code=ILL)
    assert found["twins"]["command"] == f"dtconn disconnect {second} --project {FIRST_PROJECT}"
    assert found["room"]["level"] == "note"


@pytest.mark.parametrize(
    ("metrics", "levels"),
    [
        (Metrics(successes=9, errors=0, p99=0.4), ["ok", "ok"]),
        (Metrics(successes=9, errors=1, p99=5.5), ["note", "note"]),
        (Metrics(successes=0, errors=3, p99=10.0), ["ill", "ill"]),
        (Metrics(successes=0, errors=0, p99=None), ["ok", "unknown"]),
    ],
)
def test_metrics(metrics: Metrics, levels: list[str]) -> None:
    assert [each.level for each in of_metrics(metrics)] == levels


def test_netrc_and_proxy(dtconn: Dtconn, connect: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password of-netrc\n")
    (tmp_path / "netrc").chmod(0o600)
    environ = {"NETRC": str(tmp_path / "netrc"), "HTTP_PROXY": "http://user:of-proxy@127.0.0.1:9", "NO_PROXY": None}
    connect()
    result = dtconn("doctor", **environ)
    assert result.exit_code == WELL
    assert "~/.netrc has an entry" in result.stdout
    assert "export NO_PROXY=127.0.0.1" in result.stdout
    assert "of-netrc" not in result.output
    assert "of-proxy" not in result.output


def test_certificate(
    dtconn: Dtconn, connect: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tls = serving(tmp_path)
    with loopback(lambda _: Reply(401, UNVERIFIED.body), tls) as server:
        connect(server.url)
        found = verdicts(dtconn, code=ILL)
        assert (found["certificate"]["level"], "not trusted" in found["certificate"]["text"]) == ("ill", True)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        trusted = look_at(server.url)
        assert trusted
        assert trusted.fault is None
        assert 0.9 < (trusted.days or 0) < 1.1
        other = look_at(server.url.replace("127.0.0.1", "localhost"))
        assert other
        assert "localhost" in (other.fault or "")
    assert look_at(server.url) is None


@pytest.mark.parametrize(
    "environ", [{"DT_API_KEY_SECRET": "wrong"}, {"DT_API_URL": "http://127.0.0.1:9"}, {"DT_CLOUD_PROJECT": "nothing"}]
)
def test_what_hides_the_answer_is_2(dtconn: Dtconn, environ: dict[str, str | None]) -> None:
    result = dtconn("doctor", **environ)
    assert (result.exit_code, result.stdout) == (UNKNOWN, "")
    assert len(result.stderr.strip().splitlines()) == 1
