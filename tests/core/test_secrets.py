"""Managed secrets: fetch, rotation, cooldown, cache, and no secret in a repr or an error."""

import json
import threading
import time
from collections.abc import Callable

import pytest

from core.environment import SettingsError
from core.receiver import Receiver
from core.settings import Settings
from core.stores.contract import Outcome, StoreUnavailableError
from core.verify.keys import KeysNeeded, KeysUnavailableError
from core.verify.secrets import COOLDOWN, MAX_AGE, ManagedSecrets
from tests.support.deliveries import SECRET, body, delivery, hs256

OTHER = "another signature secret, 43 bytes in length"
BODY = body()


class Service:
    """A secret service, with a clock beside it. ``None`` stands for one that is away."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.now = 1000.0
        self.fetches = 0
        self.secrets = ManagedSecrets(self.fetch, "Look there.", lambda: self.now)

    def fetch(self) -> str:
        self.fetches += 1
        if self.text is None:
            raise StoreUnavailableError("AccessDeniedException")
        return self.text

    def receiver(self) -> Receiver:
        class Memory:
            def put(self, *_: object) -> Outcome:
                return Outcome.STORED

        return Receiver(Settings.load({}, self.secrets), Memory())


def status(receiver: Receiver, secret: str = SECRET) -> int:
    return receiver.handle(delivery(BODY, {"X-Dt-Signature": hs256(BODY, secret)})).status


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (SECRET, [SECRET]),
        (json.dumps([OTHER, SECRET]), [SECRET, OTHER]),
        (f"  {SECRET} ", [f"  {SECRET} "]),
        ("hemmelig nøkkel på norsk, lang nok", ["hemmelig nøkkel på norsk, lang nok"]),
    ],
    ids=["one", "two", "verbatim", "not ASCII"],
)
def test_one_secret_or_a_list(text: str, accepted: list[str]) -> None:
    service = Service(text)
    receiver = service.receiver()
    assert [status(receiver, secret) for secret in accepted] == [200] * len(accepted)
    assert status(receiver, "a third one, which nobody has configured") == 401
    assert service.fetches == 1


def test_secret_rotation_is_found_at_the_first_mismatch_with_a_cooldown() -> None:
    service = Service(SECRET)
    receiver = service.receiver()
    assert status(receiver) == 200
    service.text = json.dumps([OTHER, SECRET])
    service.now += COOLDOWN
    assert status(receiver, OTHER) == 200
    assert service.fetches == 2
    for _ in range(100):
        assert status(receiver, "a forger's, of which there may be millions") == 401
    assert service.fetches == 2
    service.now += COOLDOWN
    assert status(receiver, "a forger's, of which there may be millions") == 401
    assert service.fetches == 3


def test_secret_rotation_removed_secret_stops_working() -> None:
    service = Service(json.dumps([OTHER, SECRET]))
    receiver = service.receiver()
    assert status(receiver) == 200
    service.text = OTHER
    service.now += MAX_AGE - 1
    assert status(receiver) == 200
    service.now += 1
    assert status(receiver) == 401


@pytest.mark.parametrize("text", [None, "", " ", "[", "[]", '[""]', "[1]", '{"secret":"x"}', '["\\ud800"]'])
def test_failed_fetch_keeps_the_old_secrets(text: str | None) -> None:
    service = Service(SECRET)
    receiver = service.receiver()
    assert status(receiver) == 200
    service.text = text
    service.now += MAX_AGE
    for _ in range(10):
        assert status(receiver) == 200
    assert service.fetches == 2
    # It is asked again after the cooldown, and then has the new one.
    service.text = OTHER
    service.now += COOLDOWN
    assert status(receiver, OTHER) == 200
    assert status(receiver) == 401


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{OTHER}\n", "it has a line end (number 0): write the secret without it"),
        (f'"{OTHER}"', "it is in quotes (number 0): write the secret without them"),
        (f"\ufeff{OTHER}", "it begins with a byte order mark: save it as UTF-8 without one"),
        (json.dumps([OTHER, json.dumps([SECRET])]), "it holds an array in an array (number 1): write several"),
        (json.dumps([OTHER, [SECRET]]), "it is an array in an array: write several"),
        (json.dumps({"secret": OTHER}), "it is a JSON object: store the secret alone, as plain text"),
        (json.dumps([OTHER, f"{SECRET}\n", f"'{SECRET}'"]), "it has a line end (number 1): write the secret without"),
        (" ", "it is empty"),
    ],
)
def test_changed_secret_that_cannot_be_used_is_an_error_in_the_log(
    text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(SECRET)
    receiver = service.receiver()
    assert status(receiver) == 200
    service.text = text
    service.now += COOLDOWN
    # Neither is stored by an accident of parsing, and the old one still works.
    assert [status(receiver, secret) for secret in (OTHER, SECRET)] == [401, 200]
    errors = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if line["severity"] == "ERROR"]
    assert [line["message"][: len(NOT_USED + reason)] for line in errors] == [NOT_USED + reason]
    assert not any(secret in json.dumps(errors) for secret in (OTHER, SECRET))


NOT_USED = "The new value of the signature secret is not used: "


@pytest.mark.parametrize(
    ("text", "fault"),
    [(None, "AccessDenied"), ("", "it is empty"), ("[", "it "), ('{"secret":"x"}', "it ")],
)
def test_without_any_secret_every_request_fetches(
    text: str | None, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(text)
    receiver = service.receiver()
    assert [status(receiver) for _ in range(3)] == [503] * 3
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        assert line["severity"] == "ERROR"
        assert line["reason"].startswith(f"secret_unavailable: {fault}")
        assert line["reason"].endswith(". Look there.")
    service.text = SECRET
    assert status(receiver) == 200


def test_concurrent_requests_share_one_fetch() -> None:
    begun, may_end = threading.Event(), threading.Event()
    fetches = []

    def fetch() -> str:
        fetches.append(1)
        begun.set()
        may_end.wait(60)
        raise StoreUnavailableError("timeout")

    secrets = ManagedSecrets(fetch, "")
    refused = []
    coming = threading.Semaphore(0)

    def refresh() -> None:
        coming.release()
        with pytest.raises(KeysUnavailableError):
            secrets.refresh()
        refused.append(1)

    threads = [threading.Thread(target=refresh) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    assert all(coming.acquire(timeout=30) for _ in threads)
    time.sleep(0.2)  # so that the others wait for the lock
    may_end.set()
    for thread in threads:
        thread.join()
    assert (len(fetches), len(refused)) == (1, 20)


def test_refresh_names_its_source() -> None:
    secrets = Service(SECRET).secrets
    calls: list[Callable[[], object]] = [secrets.get, secrets.mismatched]
    for call in calls:
        needed = call()
        assert isinstance(needed, KeysNeeded)
        assert needed.source is secrets


def test_conflicting_sources_of_the_secret_are_a_fault() -> None:
    secrets = Service(SECRET).secrets
    with pytest.raises(SettingsError, match="Remove one of the two"):
        Settings.load({"DT_SIGNATURE_SECRET": SECRET}, secrets)
    with pytest.raises(SettingsError, match="unsigned"):
        Settings.load({"DT_SIGNATURE_POLICY": "unsigned"}, secrets)
    Settings.load({"DT_SIGNATURE_POLICY": "hs256"}, secrets)


def test_repr_and_errors_have_no_secret() -> None:
    service = Service(SECRET)
    receiver = service.receiver()
    assert status(receiver) == 200
    settings = Settings.load({}, service.secrets)
    for shown in (repr(service.secrets), repr(settings), repr(settings.verifier), repr(vars(service.secrets)["_lock"])):
        assert SECRET not in shown
