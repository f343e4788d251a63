"""Login to Cloudant by IAM tokens: requests, caching, renewal, and no token in a log.

The real IBM SDK against a stand-in for IAM.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from ibm_cloud_sdk_core.token_managers.container_token_manager import ContainerTokenManager

from core.environment import Environment
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT, READ_TIMEOUT
from core.stores.contract import Outcome
from ibm_actions.identity import IamLogin, iam_login
from ibm_actions.service import Service
from ibm_actions.wiring import build_store
from tests.ibm_actions.cloudant_calls import delivered, listed, on, page, put, said, written
from tests.ibm_actions.iam import (
    API_KEY,
    HOUR,
    PROFILE,
    RESOURCE,
    TOKEN,
    Clock,
    fault,
    login,
    number,
    refused,
    token,
    tokens,
)
from tests.support.certificates import serving
from tests.support.couchdb import couchdb
from tests.support.deliveries import fresh_body
from tests.support.events import event
from tests.support.loopback import (
    DROPPED,
    SILENT,
    Call,
    Reply,
    in_turn,
    loopback,
)

# What IAM is asked.


def test_api_key_is_exchanged_for_a_token() -> None:
    with loopback(tokens()) as iam:
        assert number(iam_login(None, API_KEY, iam.url)) == 1
        [call] = iam.calls
    assert (call.method, call.path) == ("POST", "/identity/token")
    assert call.parameters == {
        "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
        "apikey": API_KEY,
        "response_type": "cloud_iam",
    }


def test_compute_resource_token_is_read_again_for_each_exchange(tmp_path: Path) -> None:
    """Code Engine replaces it within the hour."""
    path, clock = tmp_path / "token", Clock()
    with loopback(tokens()) as iam:
        manager = ContainerTokenManager(cr_token_filename=str(path), iam_profile_id=PROFILE, url=iam.url)
        by_profile = IamLogin(manager, clock)
        for count in (1, 2):
            path.write_text(f"{RESOURCE}-{count}")
            assert number(by_profile) == count
            clock.ahead += HOUR
        assert [call.parameters for call in iam.calls] == [
            {
                "grant_type": "urn:ibm:params:oauth:grant-type:cr-token",
                "cr_token": f"{RESOURCE}-{count}",
                "profile_id": PROFILE,
            }
            for count in (1, 2)
        ]


def test_trusted_profile_is_preferred_to_an_api_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    for index in (1, 2):
        monkeypatch.setattr(ContainerTokenManager, f"DEFAULT_CR_TOKEN_FILENAME{index}", str(tmp_path / "none"))
    expected = "/var/run/secrets/codeengine.cloud.ibm.com/compute-resource-token/token"
    assert expected == ContainerTokenManager.DEFAULT_CR_TOKEN_FILENAME3
    monkeypatch.setattr(ContainerTokenManager, "DEFAULT_CR_TOKEN_FILENAME3", str(path))
    with loopback(tokens()) as iam:
        by_profile = iam_login(PROFILE, API_KEY, iam.url)
        assert refused(by_profile) == (
            "IAM: no compute resource token. Is the trusted profile linked to this application?"
        )
        assert iam.calls == []
        # The file may appear after the start of the application, without a restart.
        path.write_text(RESOURCE)
        assert number(by_profile) == 1
        assert iam.calls[0].parameters.items() >= {"cr_token": RESOURCE, "profile_id": PROFILE}.items()


# How long a token is used.


def test_token_is_cached_for_most_of_its_lifetime() -> None:
    clock = Clock()
    with login(tokens(), clock) as (iam, one):
        assert [number(one) for _ in range(3)] == [1, 1, 1]
        clock.ahead = HOUR * 0.8 - 5
        assert number(one) == 1
        assert len(iam.calls) == 1
        clock.ahead = HOUR * 0.8 + 1
        assert [number(one), number(one)] == [2, 2]
        # The second token's lifetime begins here.
        clock.ahead += HOUR * 0.8 - 5
        assert number(one) == 2
        clock.ahead += 10
        assert number(one) == 3
        assert len(iam.calls) == 3


def test_token_lifetime_starts_at_the_request() -> None:
    """IAM issued it at the request or later, however late it arrived."""
    clock = Clock()

    def late(_: Call) -> Reply:
        clock.ahead += HOUR / 2
        return token(len(iam.calls))

    with login(late, clock) as (iam, one):
        assert number(one) == 1
        clock.ahead += HOUR * 0.31
        assert number(one) == 2


def test_others_use_the_old_token_during_a_renewal() -> None:
    clock, asked, go_on = Clock(), threading.Event(), threading.Event()

    def answer(_: Call) -> Reply:
        if len(iam.calls) == 2:
            asked.set()
            go_on.wait(30)
        return token(len(iam.calls))

    with login(answer, clock) as (iam, one), ThreadPoolExecutor(1) as threads:
        assert number(one) == 1
        clock.ahead = HOUR * 0.9
        renewing = threads.submit(number, one)
        assert asked.wait(30)
        started = time.monotonic()
        assert [number(one) for _ in range(5)] == [1] * 5
        assert time.monotonic() - started < READ_TIMEOUT
        go_on.set()
        assert renewing.result() == number(one) == 2
        assert len(iam.calls) == 2


@pytest.mark.parametrize("reply", [fault(500), fault(400), DROPPED, page(200)])
def test_failed_renewal_keeps_the_old_token_with_a_cooldown(reply: Reply | None) -> None:
    clock, is_well = Clock(), threading.Event()
    is_well.set()
    with login(lambda _: token(len(iam.calls)) if is_well.is_set() else reply, clock) as (iam, one):
        assert number(one) == 1
        is_well.clear()
        clock.ahead = HOUR * 0.8 + 1
        assert number(one) == 1
        tried = len(iam.calls)
        assert tried > 1
        assert [number(one) for _ in range(10)] == [1] * 10
        clock.ahead += 55
        assert number(one) == 1
        assert len(iam.calls) == tried
        clock.ahead += 10
        assert number(one) == 1
        tried_again = len(iam.calls)
        assert tried_again > tried
        # After it expires, each event requests a token.
        clock.ahead = HOUR + 1
        for _ in range(2):
            assert refused(one).startswith("IAM: ")
        assert len(iam.calls) > tried_again
        is_well.set()
        assert number(one) == len(iam.calls)


def test_failed_renewal_is_retried_at_expiry() -> None:
    clock = Clock()
    with login(in_turn(token(1), fault(400), token(3)), clock) as (_, one):
        assert number(one) == 1
        clock.ahead = HOUR - 5
        assert number(one) == 1
        clock.ahead = HOUR
        assert number(one) == 3


def test_iam_timeout_with_a_valid_token_costs_no_event() -> None:
    clock, is_well = Clock(), threading.Event()
    is_well.set()
    with (
        login(lambda _: token(1) if is_well.is_set() else SILENT, clock) as (_, one),
        loopback(listed(in_turn(written()), "events-2024")) as server,
    ):
        store = on(Service(server.url, one))
        assert put(store, event()) == Outcome.STORED
        is_well.clear()
        clock.ahead = HOUR * 0.9
        started = time.monotonic()
        assert put(store, event()) == Outcome.STORED
        assert time.monotonic() - started < DEADLINE - ATTEMPT
        started = time.monotonic()
        assert [put(store, event()) for _ in range(3)] == [Outcome.STORED] * 3
        assert time.monotonic() - started < READ_TIMEOUT


# Redirects, certificates and logs.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_iam_redirect_is_not_followed(status: int) -> None:
    with loopback(tokens()) as other, login(in_turn(page(status, Location=f"{other.url}/x"))) as (_, one):
        assert refused(one) == f"IAM: HTTP {status}"
        assert other.connections == 0


def test_untrusted_iam_certificate_is_sent_nothing(tmp_path: Path) -> None:
    with loopback(tokens(), serving(tmp_path)[1]) as iam:
        assert refused(iam_login(None, API_KEY, iam.url)) == "IAM: SSLError"
        assert iam.calls == []


def test_no_secret_is_logged_or_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "token"
    path.write_text(RESOURCE)
    with loopback(in_turn(token(1), fault(500))) as iam, loopback(in_turn(said(401, "unauthorized"))) as server:
        by_profile = IamLogin(ContainerTokenManager(cr_token_filename=str(path), iam_profile_id=PROFILE, url=iam.url))
        by_key = iam_login(None, API_KEY, iam.url)
        services = [Service(server.url, each) for each in (by_profile, by_key)]
        for each in services:
            status, line = delivered(on(each), fresh_body())
            assert (status, line["reason"]) == (503, "IAM: HTTP 500")
        shown = caplog.text + repr(by_profile) + repr(by_key) + repr([vars(each) for each in services]) + repr(line)
    assert caplog.records
    for secret in (TOKEN, API_KEY, RESOURCE):
        assert secret not in shown


# The whole way.


def test_token_login_to_cloudant_survives_token_rotation() -> None:
    is_well = threading.Event()
    with ExitStack() as stack:
        there = stack.enter_context(couchdb(token=f"{TOKEN}-2"))
        iam = stack.enter_context(loopback(lambda _: token(len(iam.calls)) if is_well.is_set() else fault(503)))
        names = {"DT_CLOUDANT": there.url, "DT_CLOUDANT_API_KEY": API_KEY, "DT_IAM_URL": iam.url}
        store = build_store(Environment(names | {"DT_DATABASE_PREFIX": "e"}))
        content = fresh_body()
        status, line = delivered(store, content)
        assert (status, line["reason"]) == (503, "IAM: HTTP 503")
        iam.calls.clear()
        is_well.set()
        # The first token is refused.
        assert delivered(store, content)[0] == 200
        assert len(iam.calls) == 2
        status, line = delivered(store, content)
        assert (status, line["outcome"]) == (200, "duplicate")
        assert len(iam.calls) == 2
