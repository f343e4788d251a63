"""Settings of the adapter: valid ones, the messages for invalid ones, and the login that they choose."""

import base64
from contextlib import suppress
from urllib.parse import quote

import pytest

from core.environment import Environment, SettingsError
from core.stores.contract import Outcome, StoreUnavailableError
from ibm_actions.wiring import build_service, build_store, read_cloudant, read_databases
from tests.ibm_actions.cloudant_calls import listed, put, written
from tests.support.events import event, soon
from tests.support.loopback import Loopback, in_turn, loopback, success

HOST = "https://dt.cloudantnosqldb.appdomain.cloud"
SECRET = "s3cr3t-that-nobody-may-see"
KEY = {"DT_CLOUDANT_API_KEY": SECRET}
PROFILE = {"DT_TRUSTED_PROFILE": "Profile-8f7c1d5e"}
CLOUDANT = {"DT_CLOUDANT": HOST}

WAYS = "Set one of DT_TRUSTED_PROFILE, DT_CLOUDANT_API_KEY, and a user with its password in DT_CLOUDANT. Found: "
ADDRESS = "DT_CLOUDANT must be an address such as https://INSTANCE.cloudantnosqldb.appdomain.cloud."
IAM = "DT_IAM_URL must be an https address; leave it out for IBM Cloud's public address."
PREFIX = "DT_DATABASE_PREFIX must have only a to z, 0 to 9, _ and -, and begin with a letter."
PERIOD = "DT_DATABASE_PERIOD must be month, quarter or year."

RIGHT = {
    "a trusted profile": CLOUDANT | PROFILE,
    "an API key": CLOUDANT | KEY,
    "what is empty is not set": CLOUDANT | KEY | {"DT_TRUSTED_PROFILE": "", "DT_IAM_URL": "", "DT_DATABASE_PREFIX": ""},
    "a slash at the end": {"DT_CLOUDANT": f"{HOST}/"} | KEY,
    "a port": {"DT_CLOUDANT": f"{HOST}:443"} | KEY,
    "a user": {"DT_CLOUDANT": f"https://user:{SECRET}@couch.example:6984/"},
    "a user without a password": {"DT_CLOUDANT": "https://user:@couch.example"},
    "a user without TLS": {"DT_CLOUDANT": f"http://user:{SECRET}@couch.example:5984"},
    "a password with a colon": {"DT_CLOUDANT": f"https://user:{SECRET}:more@couch.example"},
    "a user of many characters": {"DT_CLOUDANT": f"https://{quote('u@/:', safe='')}:{quote('p:@/?#% ', safe='')}@c"},
    "this machine": {"DT_CLOUDANT": "http://127.0.0.1:5984"} | KEY,
    "this machine by its name": {"DT_CLOUDANT": "http://localhost:5984"} | KEY,
    "this machine by IPv6": {"DT_CLOUDANT": "http://[::1]:5984"} | KEY,
    "this machine's first port": {"DT_CLOUDANT": "http://127.0.0.1"} | KEY,
    "the private IAM": CLOUDANT | KEY | {"DT_IAM_URL": "https://private.iam.cloud.ibm.com"},
    "an IAM here": CLOUDANT | KEY | {"DT_IAM_URL": "http://127.0.0.1:8080"},
    "a prefix": CLOUDANT | KEY | {"DT_DATABASE_PREFIX": "a-z_0"},
    "a period": CLOUDANT | KEY | {"DT_DATABASE_PERIOD": "quarter"},
}


@pytest.mark.parametrize("environ", RIGHT.values(), ids=RIGHT.keys())
def test_valid_settings(environ: dict[str, str]) -> None:
    assert SECRET not in repr(build_store(Environment(environ)))
    assert SECRET not in repr(vars(build_service(Environment(environ))))
    assert SECRET not in repr(read_cloudant(Environment(environ)))


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "nothing": (KEY, "DT_CLOUDANT is not set: the address of the Cloudant instance. ibm_actions/deploy sets it."),
    "empty": (
        {"DT_CLOUDANT": ""} | KEY,
        "DT_CLOUDANT is not set: the address of the Cloudant instance. ibm_actions/deploy sets it.",
    ),
    "nobody": (CLOUDANT, f"{WAYS}none."),
    "nobody, empty": (CLOUDANT | {"DT_TRUSTED_PROFILE": "", "DT_CLOUDANT_API_KEY": ""}, f"{WAYS}none."),
    "two": (CLOUDANT | PROFILE | KEY, f"{WAYS}DT_TRUSTED_PROFILE and DT_CLOUDANT_API_KEY."),
    "two others": (
        {"DT_CLOUDANT": f"https://user:{SECRET}@c"} | KEY,
        f"{WAYS}DT_CLOUDANT_API_KEY and a user in DT_CLOUDANT.",
    ),
    "a profile and a user": (
        {"DT_CLOUDANT": f"https://user:{SECRET}@c"} | PROFILE,
        f"{WAYS}DT_TRUSTED_PROFILE and a user in DT_CLOUDANT.",
    ),
    "three": (
        {"DT_CLOUDANT": f"https://user:{SECRET}@c"} | KEY | PROFILE,
        f"{WAYS}DT_TRUSTED_PROFILE and DT_CLOUDANT_API_KEY and a user in DT_CLOUDANT.",
    ),
    **{
        address: ({"DT_CLOUDANT": address} | KEY, ADDRESS)
        for address in (
            "http://dt.cloudantnosqldb.appdomain.cloud",
            "http://127.0.0.1.example",
            "http://127.0.0.2",
            "http://localhost.example:80",
            "dt.cloudantnosqldb.appdomain.cloud",
            "ftp://dt.example",
            "https://",
            "https:///",
            f"{HOST}/events",
            f"{HOST}//",
            f"{HOST}?a=b",
            f"{HOST}#a",
            f" {HOST}",
            f"{HOST}\n",
            "https://a b",
        )
    },
    **{
        address: ({"DT_CLOUDANT": address} | KEY, ADDRESS)
        for address in (
            f"https://{SECRET}@c",
            f"https://:{SECRET}@c",
            f"https://user:{SECRET}@",
            f"https://user:{SECRET}@@c",
            f"https://user:{SECRET}/@c",
            f"https://user:{SECRET}@c/db",
            f"https://us er:{SECRET}@c",
            f"user:{SECRET}@c",
        )
    },
    **{
        f"IAM {url}": (CLOUDANT | KEY | {"DT_IAM_URL": url}, IAM)
        for url in ("http://iam.cloud.ibm.com", "iam.cloud.ibm.com", "https://a b", "http://127.0.0.1.example", " ")
    },
    **{
        f"prefix {prefix}": (CLOUDANT | KEY | {"DT_DATABASE_PREFIX": prefix}, PREFIX)
        for prefix in ("Events", "1", "_events", "-", "a/b", "a b", "ø", "a\n", "a.b", "a" * 101)
    },
    **{
        f"period {period}": (CLOUDANT | KEY | {"DT_DATABASE_PERIOD": period}, PERIOD)
        for period in ("Year", "months", "day", "12", " year")
    },
}


@pytest.mark.parametrize(("environ", "fault"), WRONG.values(), ids=WRONG.keys())
def test_invalid_settings_say_what_to_set(environ: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build_store(Environment(environ))
    assert caught.value.faults == [fault]
    assert SECRET not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("host", ["[::1", "a:99999", "a:b", "-", "xn--a", "a..b", "%", "\udc80"])
def test_invalid_host_is_refused(host: str) -> None:
    """It never raises an unexpected exception."""
    environ = {"DT_CLOUDANT": f"http://user:password@{host}"}
    with pytest.raises((SettingsError, StoreUnavailableError)):
        build_service(Environment(environ)).call("GET", "/x", soon())


@pytest.mark.parametrize("prefix", ["a", "a" * 100])
def test_database_prefix_is_used_unchanged(prefix: str) -> None:
    environment = Environment({"DT_DATABASE_PREFIX": prefix})
    assert read_databases(environment) == (prefix, "year")
    environment.check()


def test_prefix_setting_names_the_database() -> None:
    with loopback(listed(in_turn(written()))) as server:
        address = f"http://u:p@{server.host}/"
        for prefix in ("", "other_1"):
            assert (
                put(build_store(Environment({"DT_CLOUDANT": address, "DT_DATABASE_PREFIX": prefix})), event())
                == Outcome.STORED
            )
        puts = [call.path for call in server.calls if "?partitioned=true" in call.path]
        assert puts == ["/events-2024?partitioned=true", "/other_1-2024?partitioned=true"]


@pytest.mark.parametrize(
    ("period", "database"), [("month", "2024-05"), ("quarter", "2024-q2"), ("year", "2024"), ("", "2024")]
)
def test_period_setting_names_the_created_database(period: str, database: str) -> None:
    with loopback(listed(in_turn(written()))) as server:
        environ = {"DT_CLOUDANT": f"http://u:p@{server.host}", "DT_DATABASE_PERIOD": period}
        assert put(build_store(Environment(environ)), event()) == Outcome.STORED
        assert f"/events-{database}?partitioned=true" in [call.path for call in server.calls]


# Who calls.


def sent(server: Loopback, user: str, password: str) -> str:
    environ = {"DT_CLOUDANT": f"http://{quote(user, safe='')}:{quote(password, safe='')}@{server.host}"}
    build_service(Environment(environ)).call("GET", "/x", soon())
    method, _, pair = server.calls[-1].headers["authorization"].partition(" ")
    assert method == "Basic"
    return base64.b64decode(pair).decode()


@pytest.mark.parametrize("password", [SECRET, "", "p:@/?#% +", "ø", "€", "温"])
def test_user_and_password_are_sent_unchanged(password: str) -> None:
    """As UTF-8, as CouchDB reads them."""
    with loopback(in_turn(success())) as server:
        assert sent(server, "us@r", password) == f"us@r:{password}"


def test_password_that_is_not_text_raises_only_settings_errors() -> None:
    """Another exception would end the function at its start, without a message."""
    with suppress(SettingsError):
        build_service(Environment({"DT_CLOUDANT": "https://user:\udcff@couch.example"}))


@pytest.mark.parametrize("way", ["", "/", "/identity/token"])
def test_iam_url_setting(way: str) -> None:
    with loopback(in_turn(success(access_token="t", expires_in=60))) as iam, loopback(in_turn(success(n=1))) as server:
        environ = KEY | {"DT_CLOUDANT": server.url, "DT_IAM_URL": f"{iam.url}{way}"}
        assert build_service(Environment(environ)).call("GET", "/x", soon()) == (200, {"n": 1})
        assert [call.path for call in iam.calls] == ["/identity/token"]
        assert server.calls[0].headers["authorization"] == "Bearer t"


def test_all_invalid_settings_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        build_store(Environment({"DT_DATABASE_PERIOD": "day"}))
    assert len(caught.value.faults) == 3
    for part in ("DT_CLOUDANT is not set", WAYS, PERIOD):
        assert part in str(caught.value)
