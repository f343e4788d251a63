"""When keys are fetched, cached, and fetched again."""

import threading
import time

from jwt import PyJWK

from core.verify.jwks import COOLDOWN, MAX_AGE, PublishedKeys
from tests.core.jwks.issuer import DISCOVERY, KEYS, Clock, Handler, Issuer, document, is_needed
from tests.support.es256 import KID, jwks


def test_keys_are_fetched_on_first_use_and_cached(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    assert is_needed(keys)
    assert issuer.asked == []
    keys.refresh()
    for _ in range(3):
        key = keys.get(KID)
        assert isinstance(key, PyJWK)
        assert key.key_id == KID
        clock.now += MAX_AGE / 3 - 0.1
    assert issuer.asked == [DISCOVERY, KEYS]


def test_unknown_kid_costs_one_fetch_per_cooldown(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    keys.refresh()
    for fetches in (1, 2, 3):
        for forged in range(20):
            assert keys.get(f"forged-{forged}") is None
            keys.refresh()
        clock.now += COOLDOWN - 0.1
        assert not is_needed(keys, "forged")
        keys.refresh()
        assert len(issuer.asked) == 2 * fetches
        clock.now += 0.1
        assert is_needed(keys, "forged")
        assert not is_needed(keys)
        keys.refresh()


def test_key_rotation_added_key_is_found(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    keys.refresh()
    issuer.answers[KEYS] = document({"keys": jwks()["keys"] + jwks(kid="new")["keys"]})
    clock.now += COOLDOWN
    assert is_needed(keys, "new")
    keys.refresh()
    assert keys.get("new")
    assert keys.get(KID)


def test_key_rotation_removed_key_stops_working(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    keys.refresh()
    issuer.answers[KEYS] = document(jwks(kid="new"))
    clock.now += MAX_AGE - 0.1
    assert keys.get(KID)
    clock.now += 0.1
    assert is_needed(keys)
    keys.refresh()
    assert keys.get(KID) is None
    assert keys.get("new")


def test_fetch_does_not_block_other_requests(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    """While one request fetches for a forged kid, others use the cached keys."""
    keys.refresh()
    asked, answered = threading.Event(), threading.Event()

    def slow(_: Handler) -> None:
        asked.set()
        answered.wait(30)

    issuer.answers[DISCOVERY] = slow
    clock.now += COOLDOWN
    thread = threading.Thread(target=keys.refresh)
    thread.start()
    assert asked.wait(30)
    assert keys.get(KID)
    answered.set()
    thread.join()
    assert keys.get(KID)


def test_concurrent_requests_share_one_fetch(keys: PublishedKeys, issuer: Issuer) -> None:
    barrier = threading.Barrier(8)
    found = []

    def late(handler: Handler) -> None:
        time.sleep(0.05)
        document(jwks())(handler)

    def request() -> None:
        barrier.wait()
        keys.refresh()
        found.append(keys.get(KID))

    issuer.answers[KEYS] = late
    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(found)
    assert issuer.asked == [DISCOVERY, KEYS]
