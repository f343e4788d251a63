"""Promise 4: nothing fails open. An invalid setting is reported with its name and what to set."""

import http.server
import json
import threading
import time
import traceback
from typing import Any

import pytest

from core.environment import SettingsError
from core.settings import Settings
from core.verify.jwks import PinnedKeys, PublishedKeys
from core.verify.signature import ISSUER, SignatureError
from tests.core.settings.loading import ES256, HS256, OTHER_SECRET, UNSIGNED, VARIABLES, faults
from tests.support.deliveries import ORGANIZATION, SECRET, body, delivery, hs256
from tests.support.es256 import JWKS, KID, jwks


def test_defaults() -> None:
    settings = Settings.load(HS256)
    assert (settings.event_types, settings.projects, settings.warnings) == (None, None, ())
    verifier = settings.verifier
    assert (verifier.secrets, verifier.organizations, verifier.policy) == ((SECRET.encode(),), frozenset(), "any")
    assert (verifier.keys, verifier.issuer) == (None, ISSUER)
    assert (verifier.leeway, verifier.accept_expired_for, verifier.accept_sha1) == (60, 0, True)


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("DT_SIGNATURE_SECRET", OTHER_SECRET, "secrets", (OTHER_SECRET.encode(),)),
        ("DT_SIGNATURE_SECRET", "æ" * 16, "secrets", (b"\xc3\xa6" * 16,)),
        ("DT_SIGNATURE_SECRET", f" {SECRET} ", "secrets", (f" {SECRET} ".encode(),)),
        ("DT_SIGNATURE_SECRET", f'{{"{SECRET}"}}', "secrets", (f'{{"{SECRET}"}}'.encode(),)),
        ("DT_SIGNATURE_SECRET", f'["{SECRET}"]', "secrets", (SECRET.encode(),)),
        ("DT_SIGNATURE_SECRET", json.dumps(["[", "b,c"]), "secrets", (b"[", b"b,c")),
        ("DT_ORGANIZATION_ID", "dt", "organizations", {"dt"}),
        ("DT_ORGANIZATION_ID", f'["dt", "{ORGANIZATION}"]', "organizations", {"dt", ORGANIZATION}),
        ("DT_SIGNATURE_POLICY", "any", "policy", "any"),
        ("DT_SIGNATURE_POLICY", "hs256", "policy", "hs256"),
        ("DT_SIGNATURE_POLICY", "es256", "policy", "es256"),
        ("DT_SIGNATURE_POLICY", "both", "policy", "both"),
        ("DT_ISSUER", "https://identity.example.com", "issuer", "https://identity.example.com"),
        ("DT_LEEWAY", "0", "leeway", 0),
        ("DT_LEEWAY", "600", "leeway", 600),
        ("DT_ACCEPT_EXPIRED_FOR", "0", "accept_expired_for", 0),
        ("DT_ACCEPT_EXPIRED_FOR", "86400", "accept_expired_for", 86_400),
        ("DT_ACCEPT_SHA1", "true", "accept_sha1", True),
        ("DT_ACCEPT_SHA1", "False", "accept_sha1", False),
    ],
)
def test_variable(name: str, text: str, attribute: str, value: Any) -> None:
    assert getattr(Settings.load(HS256 | ES256 | {name: text}).verifier, attribute) == value


def test_filters() -> None:
    settings = Settings.load(HS256 | {"DT_EVENT_TYPES": '["touch", "motion"]', "DT_PROJECT_ID": "p"})
    assert settings.event_types == frozenset({"touch", "motion"})
    assert settings.projects == frozenset({"p"})
    assert settings.warnings == ()


def test_unsigned_policy_alone_is_allowed_with_a_warning() -> None:
    settings = Settings.load(UNSIGNED)
    assert settings.verifier.policy == "unsigned"
    (warning,) = settings.warnings
    assert warning.startswith("DT_SIGNATURE_POLICY=unsigned: anybody ")


def test_pinned_keys_need_no_fetch() -> None:
    keys = Settings.load(ES256).verifier.keys
    assert isinstance(keys, PinnedKeys)
    assert keys.get(KID)


def test_issuer_setting_names_the_source_of_keys() -> None:
    asked: list[str] = []

    class Issuer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.handle_request).start()
        issuer = f"http://127.0.0.1:{server.server_port}/issuer"
        keys = Settings.load({"DT_ORGANIZATION_ID": ORGANIZATION, "DT_ISSUER": issuer}).verifier.keys
        assert isinstance(keys, PublishedKeys)
        keys.refresh()
    assert asked == ["/issuer/.well-known/openid-configuration"]


# Nothing fails open


@pytest.mark.parametrize("name", VARIABLES)
def test_empty_setting_is_unset(name: str) -> None:
    alone = {} if name == "DT_SIGNATURE_SECRET" else HS256
    if alone:
        assert Settings.load(alone | {name: ""}) == Settings.load(alone)
    else:
        assert faults({name: ""}) == faults({})


NO_SECRETS = ["", " ", "\t\r\n", "[]", '[""]', '[" "]', f'["{SECRET}", ""]', f'["{SECRET}", 1]', "[null]", "[[]]", "["]


@pytest.mark.parametrize("policy", ["", "any", "hs256", "es256", "both", "HS256", "none", " "])
@pytest.mark.parametrize("nothing", NO_SECRETS)
def test_missing_secret_and_keys_are_a_fault_under_every_policy(policy: str, nothing: str) -> None:
    for environ in ({"DT_SIGNATURE_SECRET": nothing}, {"DT_ORGANIZATION_ID": nothing}):
        assert faults({"DT_SIGNATURE_POLICY": policy, **environ})
    both = {"DT_SIGNATURE_SECRET": nothing, "DT_ORGANIZATION_ID": nothing, "DT_JWKS": JWKS}
    assert faults({"DT_SIGNATURE_POLICY": policy, **both})


@pytest.mark.parametrize("secret", ["\udcff" * 40, json.dumps(["\ud800" * 40])], ids=["bytes", "JSON"])
def test_secret_with_an_invalid_encoding_cannot_be_guessed(secret: str) -> None:
    """Bytes that are not UTF-8 reach Python as lone surrogates, which must not all turn into ``?``."""
    assert not lets_in({"DT_SIGNATURE_SECRET": secret}, hs256(body(), "?" * 40))


def lets_in(environ: dict[str, str], token: str) -> bool:
    try:
        Settings.load(environ).verifier.verify(delivery(headers={"X-Dt-Signature": token}), time.time())
    except (SettingsError, SignatureError):
        return False
    return True


# Faults

STUDIO = "DT Studio > API Integrations > Data Connectors"
SET_SECRET = ["Set DT_SIGNATURE_SECRET to the signature secret of " + STUDIO]
SET_ORGANIZATION = ["set DT_ORGANIZATION_ID to your organization's id", "DT's asymmetric signature"]
JSON_LIST = ['begins with "[" but is not a JSON array of non-empty strings', '["one","two"]']
NAMES = ["has an empty name, or is not a list", "one,two"]
POLICIES = ["DT_SIGNATURE_POLICY must be one of any, hs256, es256, both, unsigned."]
PASTE = ["DT_JWKS", f"jwks_uri in {ISSUER}/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    ("environ", "sentences"),
    [
        ({}, [["Nothing to verify events with. ", *SET_SECRET, *SET_ORGANIZATION]]),
        ({"DT_SIGNATURE_POLICY": "hs256"}, [["DT_SIGNATURE_POLICY=hs256 needs a secret. ", *SET_SECRET]]),
        ({"DT_SIGNATURE_POLICY": "hs256", **ES256}, [["DT_SIGNATURE_POLICY=hs256 needs a secret. ", *SET_SECRET]]),
        ({"DT_SIGNATURE_POLICY": "both", **ES256}, [["DT_SIGNATURE_POLICY=both needs a secret. ", *SET_SECRET]]),
        ({"DT_SIGNATURE_POLICY": "es256"}, [["=es256 needs an organization: ", *SET_ORGANIZATION]]),
        ({"DT_SIGNATURE_POLICY": "es256", **HS256}, [["=es256 needs an organization: ", *SET_ORGANIZATION]]),
        ({"DT_SIGNATURE_POLICY": "both", **HS256}, [["=both needs an organization: ", *SET_ORGANIZATION]]),
        (UNSIGNED | HS256, [["DT_SIGNATURE_POLICY=unsigned", "Remove one of the two."]]),
        (UNSIGNED | ES256, [["DT_SIGNATURE_POLICY=unsigned", "Remove one of the two."]]),
        (HS256 | {"DT_SIGNATURE_POLICY": "HS256"}, [POLICIES]),
        (HS256 | {"DT_SIGNATURE_POLICY": "none"}, [POLICIES]),
        (HS256 | {"DT_SIGNATURE_POLICY": " "}, [POLICIES]),
        (ES256 | {"DT_SIGNATURE_SECRET": "["}, [["DT_SIGNATURE_SECRET ", "the signature secret of", *JSON_LIST]]),
        ({"DT_SIGNATURE_SECRET": f"{SECRET}\n"}, [["DT_SIGNATURE_SECRET has a line end (number 0): write"]]),
        ({"DT_SIGNATURE_SECRET": f"'{SECRET}'"}, [["DT_SIGNATURE_SECRET is in quotes (number 0): write"]]),
        ({"DT_SIGNATURE_SECRET": f"\ufeff{SECRET}"}, [["DT_SIGNATURE_SECRET begins with a byte order mark: "]]),
        (
            {"DT_SIGNATURE_SECRET": json.dumps([f"\ufeff{SECRET}", json.dumps([SECRET])])},
            [["has a byte order mark (number 0): write"], ["holds an array in an array (number 1): write"]],
        ),
        (HS256 | {"DT_ORGANIZATION_ID": '["x"'}, [["DT_ORGANIZATION_ID ", "your organization's id", *NAMES]]),
        (HS256 | {"DT_ORGANIZATION_ID": "[]"}, [["DT_ORGANIZATION_ID ", *NAMES]]),
        (HS256 | {"DT_EVENT_TYPES": "[touch]"}, [["DT_EVENT_TYPES ", "the event types to keep", *NAMES]]),
        (HS256 | {"DT_EVENT_TYPES": '["touch", 1]'}, [["DT_EVENT_TYPES ", *NAMES]]),
        (HS256 | {"DT_PROJECT_ID": "[1]"}, [["DT_PROJECT_ID ", "projects to keep events of", *NAMES]]),
        (HS256 | {"DT_PROJECT_ID": '["p", " "]'}, [["DT_PROJECT_ID ", *NAMES]]),
        (HS256 | {"DT_PROJECT_ID": "[" * 100_000}, [["DT_PROJECT_ID ", *NAMES]]),
        (HS256 | {"DT_EVENT_TYPES": "temperature,,touch"}, [["DT_EVENT_TYPES ", *NAMES]]),
        (HS256 | {"DT_EVENT_TYPES": "temperature, to uch"}, [["DT_EVENT_TYPES must be", "one,two"]]),
        (HS256 | {"DT_PROJECT_ID": "one two"}, [["DT_PROJECT_ID must be", "one,two"]]),
        (HS256 | {"DT_ISSUER": "http://identity.example.com"}, [["DT_ISSUER must be an https address"]]),
        (HS256 | {"DT_ISSUER": "http://127.0.0.1.example.com/"}, [["DT_ISSUER must be an https address"]]),
        (ES256 | {"DT_JWKS": "no JSON"}, [PASTE]),
        (ES256 | {"DT_JWKS": "[]"}, [PASTE]),
        (ES256 | {"DT_JWKS": '{"keys":[]}'}, [PASTE]),
        (ES256 | {"DT_JWKS": json.dumps(jwks(use="enc"))}, [PASTE]),
        (ES256 | {"DT_JWKS": json.dumps(jwks() | {"keys": [1]})}, [PASTE]),
        (ES256 | {"DT_JWKS": "[" * 100_000}, [PASTE]),
        (HS256 | {"DT_LEEWAY": "601"}, [["DT_LEEWAY must be a whole number of seconds from 0 to 600."]]),
        *(
            (HS256 | {"DT_LEEWAY": text}, [["DT_LEEWAY must be a whole number of seconds from 0 to 600."]])
            for text in ("-1", "1.5", "1e2", "60s", " ", "six", "٣", "²", "9" * 5_000)
        ),
        (HS256 | {"DT_ACCEPT_EXPIRED_FOR": "86401"}, [["DT_ACCEPT_EXPIRED_FOR must be", "from 0 to 86400."]]),
        (HS256 | {"DT_ACCEPT_EXPIRED_FOR": "12h"}, [["DT_ACCEPT_EXPIRED_FOR must be", "from 0 to 86400."]]),
        (HS256 | {"DT_ACCEPT_SHA1": "no"}, [["DT_ACCEPT_SHA1 must be true or false."]]),
        (HS256 | {"DT_ACCEPT_SHA1": "0"}, [["DT_ACCEPT_SHA1 must be true or false."]]),
    ],
    ids=lambda value: ",".join(f"{k}={v[:12]}" for k, v in value.items()) if type(value) is dict else "",
)
def test_fault_names_the_variable_and_what_to_do(environ: dict[str, str], sentences: list[list[str]]) -> None:
    found = faults(environ)
    assert len(found) == len(sentences)
    for fault, parts in zip(found, sentences, strict=True):
        assert fault.endswith(".")
        for part in parts:
            assert part in fault


def test_policy_both_requires_secret_and_organization() -> None:
    text = "\n".join(faults({"DT_SIGNATURE_POLICY": "both"}))
    assert "DT_SIGNATURE_SECRET" in text
    assert "DT_ORGANIZATION_ID" in text


def test_all_invalid_settings_are_reported_together() -> None:
    wrong = dict.fromkeys(VARIABLES, "[") | {"DT_ISSUER": "", "DT_ORGANIZATION_ID": ORGANIZATION}
    told = faults(wrong)
    assert len(told) == 8
    for name in VARIABLES:
        assert sum(fault.startswith(name + " ") for fault in told) == (wrong[name] == "[")


# Warnings


@pytest.mark.parametrize(
    ("name", "text", "warnings"),
    [
        ("DT_SIGNATURE_SECRET", "x" * 32, []),
        ("DT_SIGNATURE_SECRET", "æ" * 16, []),
        ("DT_SIGNATURE_SECRET", "x" * 31, ["Signature secret 0 is shorter than 32 bytes: make a longer one."]),
        ("DT_SIGNATURE_SECRET", json.dumps(["x" * 32, "x"]), ["Signature secret 1 is shorter than 32 bytes"]),
        ("DT_SIGNATURE_SECRET", "x" * 32 + "\t", ["Signature secret 0 begins or ends with white space"]),
        ("DT_SIGNATURE_SECRET", " " + "x" * 32, ["Signature secret 0 begins or ends with white space"]),
        ("DT_SIGNATURE_SECRET", "x " * 20 + "x", []),
        ("DT_SIGNATURE_SECRET", json.dumps(["x", "y "]), ["secret 0 is shorter", "secret 1 is", "secret 1 begins"]),
        ("DT_EVENT_TYPES", "temperature", []),
        ("DT_JWKS", "{}", ["DT_JWKS has no effect without DT_ORGANIZATION_ID."]),
        ("DT_EVENT_TYPES", '["touch", "pollen"]', ["DT_EVENT_TYPES names 'pollen'"]),
        ("DT_PROJECT_ID", '["CCOL8iuk", "ccol8iuk"]', ["DT_PROJECT_ID names 'CCOL8iuk'"]),
    ],
)
def test_warnings(name: str, text: str, warnings: list[str]) -> None:
    settings = Settings.load(HS256 | {name: text})
    assert len(settings.warnings) == len(warnings)
    for warning, part in zip(settings.warnings, warnings, strict=True):
        assert part in warning


# Nothing shows a secret

S3CRET = "s3cret"


@pytest.mark.parametrize("secret", [S3CRET, f" {S3CRET} ", f'["{S3CRET}", "{S3CRET} two"]', S3CRET * 10])
def test_secret_is_in_no_warning_and_no_repr(secret: str) -> None:
    settings = Settings.load(ES256 | {"DT_SIGNATURE_SECRET": secret})
    assert S3CRET not in repr(settings) + str(settings) + repr(settings.verifier) + "".join(settings.warnings)


@pytest.mark.parametrize(
    "environ",
    [
        {"DT_SIGNATURE_SECRET": f"[{S3CRET}"},
        {"DT_SIGNATURE_SECRET": f'["{S3CRET}", ""]'},
        {"DT_SIGNATURE_SECRET": S3CRET, "DT_SIGNATURE_POLICY": "unsigned"},
        {"DT_SIGNATURE_SECRET": S3CRET, "DT_SIGNATURE_POLICY": "both", "DT_LEEWAY": "x"},
        # Set to the wrong variable.
        *({"DT_SIGNATURE_SECRET": S3CRET, name: S3CRET} for name in VARIABLES if name not in ("DT_ISSUER",)),
    ],
)
def test_secret_is_in_no_fault(environ: dict[str, str]) -> None:
    try:
        Settings.load(environ)
    except SettingsError as error:
        shown = [str(error), repr(error), *traceback.format_exception(error)]
    else:
        shown = []
    assert S3CRET not in "".join(shown)
