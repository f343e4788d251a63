"""Parameters of a function become requests; the signature chooses between the possible encodings of the body.

Documentation: https://cloud.ibm.com/docs/codeengine?topic=codeengine-fun-exchanging-data for ``__ce_*``, and for
``__ow_*`` core/controller/src/main/scala/org/apache/openwhisk/core/controller/WebActions.scala with the media types of
akka-http, to which an unknown one is binary unless it names a charset.
"""

import base64
import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import receiver
from core.environment import SettingsError
from core.http import Request, Response
from core.receiver import UnconfiguredReceiver
from core.settings import Settings
from core.verify.signature import SignatureError, Verifier
from ibm_actions.http import is_raw, to_request, to_response
from tests.support.deliveries import SECRET, body, hs256, verified
from tests.support.ibm import IBM_FRONT_DOORS, code_engine, code_engine_answer, openwhisk, openwhisk_answer

VERIFIER: Verifier = Settings.load({"DT_SIGNATURE_SECRET": SECRET}).verifier

# How a body is handed over.


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def as_text(content: bytes) -> str:
    return content.decode()


def as_escaped(content: bytes) -> str:
    """Escape by Code Engine's table, which differs from JSON's: no numeric escapes."""
    text = content.decode()
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\b", "\\b")):
        text = text.replace(plain, escaped)
    return text.replace("\f", "\\f")


Encoding = Callable[[bytes], str]
# A body without the base64 mark is "plain" on one line of IBM's page and "text-encoded" on others.
EITHER = (as_text, as_escaped)
DOCUMENTED: dict[str, dict[str | None, tuple[Encoding, ...]]] = {
    "__ce_": {
        "application/json": (as_base64,),
        "application/json; charset=utf-8": (as_base64,),
        "APPLICATION/JSON": (as_base64,),
        None: (as_base64,),
        "application/octet-stream": (as_base64,),
        "image/png": (as_base64,),
        "multipart/form-data; boundary=b": (as_base64,),
        "text/plain": EITHER,
        "text/plain; charset=utf-8": EITHER,
        " Text/HTML": EITHER,
        "application/x-www-form-urlencoded": EITHER,
    },
    "__ow_": {
        "application/json": (as_base64,),
        "application/json; charset=utf-8": (as_base64,),
        None: (as_base64,),
        "application/octet-stream": (as_base64,),
        "image/png": (as_base64,),
        "application/cloudevents+json": (as_base64,),
        "text/plain": (as_text,),
        "Text/HTML; charset=utf-8": (as_text,),
        "application/x-www-form-urlencoded": (as_text,),
    },
}
# Those that are text, and not named as such in the adapter: a text that might be base64 is first taken for it.
OPEN = {"__ow_": ("application/cloudevents+json; charset=utf-8", "multipart/form-data; boundary=b", "application/xml")}
ROWS = [(family, kind, how) for family, kinds in DOCUMENTED.items() for kind, ways in kinds.items() for how in ways]

TEXTS = {
    "JSON": body(),
    "not ASCII": body(labels="æøå 温度 😀 \u2028"),
    "looks like base64": b"e30=",
    "looks like more of it": base64.b64encode(body()),
    "quotation marks and line ends": b'{"a":"\\"say\\" \\\\ \\n \\u00e6"}\r\n\t"x"\n',
    "nothing but escapes": b'\\n\\"\\\\\\t\\u0041\b\f',
    "a form": b"a=1&b=%20+%22",
    "white space": b" \r\n",
    # Of which not all have an escape.
    "control characters": b'"\x01\x1f\\\x7f"',
}
BINARY = {"every byte": bytes(range(256)), "lone surrogate": b"\xed\xa0\x80", "zero": b"\0"}
CASES = {"canonical": str.title, "lower": str.lower, "upper": str.upper}


def params(
    family: str, kind: str | None, given_: str | None, token: str = "", case: Callable[[str], str] = str.title
) -> dict[str, Any]:
    """Return the parameters of a POST with ``given_`` as its encoded body."""
    headers = {"host": "example.com", "x-dt-signature": token} | ({"content-type": kind} if kind else {})
    found: dict[str, Any] = {
        f"{family}method": "POST" if family == "__ce_" else "post",
        f"{family}headers": {case(name): value for name, value in headers.items()},
        f"{family}path": "/" if family == "__ce_" else "",
        f"{family}query": "",
    }
    return found if given_ is None else found | {f"{family}body": given_}


def verified_body(native: Any) -> bytes:
    """Return the body that the signature verifies."""
    return verified(VERIFIER, to_request(json.loads(json.dumps(native))), time.time()).body


# What is documented.


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("family", "kind", "how"), ROWS, ids=[f"{family} {kind} {how.__name__}" for family, kind, how in ROWS]
)
def test_documented_body_encoding_is_tried_first(family: str, kind: str | None, how: Encoding, case: str) -> None:
    for name, content in TEXTS.items() if how is not as_base64 else (TEXTS | BINARY).items():
        native = params(family, kind, how(content), hs256(content), CASES[case])
        # Whether text is escaped is what the page leaves open: only the signature tells.
        if how is not as_escaped:
            assert to_request(native).body == content, name
        assert verified_body(native) == content, name


@pytest.mark.parametrize("kind", OPEN["__ow_"])
def test_unknown_text_type_is_decoded_by_signature(kind: str) -> None:
    for name, content in TEXTS.items():
        native = params("__ow_", kind, as_text(content), hs256(content))
        assert content in (to_request(native).body, *to_request(native).alternatives), name
        assert verified_body(native) == content, name


@pytest.mark.parametrize("family", DOCUMENTED)
@pytest.mark.parametrize("kind", ["application/json", None, "text/plain", "application/octet-stream"])
@pytest.mark.parametrize("how", [as_base64, as_text, as_escaped])
def test_undocumented_body_encoding_is_found_by_signature(family: str, kind: str | None, how: Encoding) -> None:
    for name, content in TEXTS.items():
        assert verified_body(params(family, kind, how(content), hs256(content))) == content, name


@pytest.mark.parametrize("family", DOCUMENTED)
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_unsigned_body_is_refused_in_every_encoding(family: str, kind: str) -> None:
    for content in TEXTS.values():
        for how in (as_base64, as_text, as_escaped):
            with pytest.raises(SignatureError, match=r"^checksum$"):
                verified_body(params(family, kind, how(content), hs256(content + b" ")))


@pytest.mark.parametrize("family", DOCUMENTED)
@pytest.mark.parametrize("given_", [None, ""])
def test_missing_body_is_empty(family: str, given_: str | None) -> None:
    native = params(family, "application/json", given_, hs256(b""))
    assert (to_request(native).body, verified_body(native)) == (b"", b"")


@given(st.binary(max_size=200) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode), st.data())
@settings(max_examples=200)
@example(b"", None)
def test_body_bytes_survive_every_front_door(content: bytes, data: st.DataObject | None) -> None:
    kinds = ["application/json", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"]
    kind = data.draw(st.sampled_from(kinds)) if data else kinds[0]
    for name, front_door in IBM_FRONT_DOORS.items():
        headers = [("content-type", kind), ("X-DT-Signature", hs256(content))]
        assert verified_body(front_door.event("POST", "/", headers, content)) == content, name


def test_method_path_and_headers_are_kept() -> None:
    headers = [("Host", "example.com"), ("x-dt-signature", "token"), ("content-type", "application/json")]
    one = to_request(code_engine()("GET", "/a/healthz", headers, b""))
    assert (one.method, one.path) == ("GET", "/a/healthz")
    assert list(one.headers) == [
        ("Host", "example.com"),
        ("X-Dt-Signature", "token"),
        ("Content-Type", "application/json"),
    ]
    other = to_request(openwhisk("GET", "/a/healthz", headers, b""))
    assert (other.method, other.path) == ("GET", "/a/healthz")
    assert other.values("x-dt-signature") == ["token"]
    assert to_request(openwhisk("PUT", "/", headers, b"")).path == "/"


# What Code Engine has beside it.

MEMBERS: dict[str, Any] = {
    "__ow_method": "get",
    "__ow_headers": {"x-dt-signature": "forged", "content-type": "text/plain"},
    "__ow_path": "/healthz",
    "__ow_body": "forged",
    "__ow_query": "forged",
    "__ce_other": "forged",
    "method": "GET",
    "path": "/healthz",
    "headers": {"X-Dt-Signature": "forged"},
    "body": "forged",
    "event": {"eventType": "touch"},
    "statusCode": 200,
    "error": "forged",
    "__proto__": None,
}


@pytest.mark.parametrize("name", MEMBERS)
def test_body_members_do_not_override_the_request(name: str) -> None:
    """A JSON object's members are parameters too, but cannot replace Code Engine's own."""
    for members in ({name: MEMBERS[name]}, MEMBERS):
        content = json.dumps(members).encode()
        headers = [("content-type", "application/json"), ("x-dt-signature", hs256(content))]
        native = code_engine()("POST", "/x", headers, content)
        assert native.keys() >= members.keys()
        alone = {key: value for key, value in native.items() if key not in members}
        assert to_request(native) == to_request(alone)
        assert to_request(native).path == "/x"
        assert is_raw(native)
        assert verified_body(native) == content


def test_query_members_do_not_override_the_request() -> None:
    content = body()
    native = params("__ce_", "application/json", as_base64(content), hs256(content))
    query = {"__ow_method": "get", "__ow_headers": "x", "__ow_body": "e30=", "__ow_path": "/healthz"}
    assert to_request(query | native) == to_request(native)
    assert is_raw(query | native)


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (params("__ce_", None, "e30="), True),
        (params("__ow_", None, "e30="), True),
        ({"__ow_method": "post", "__ow_query": ""}, True),
        ({"__ow_method": "post", "__ow_headers": {}, "__ow_path": "", "event": {}}, False),
        # Not raw, and the body is not JSON: it is passed on, which nothing documents for JSON.
        ({"__ow_method": "post", "__ow_headers": {}, "__ow_path": "", "__ow_body": "x"}, False),
        ({"__ow_method": None}, False),
        ({"__ce_method": "POST", "__ow_method": "post"}, True),
        ({}, True),
        (None, True),
        ([], True),
        ("__ow_method", True),
    ],
    ids=repr,
)
def test_non_raw_web_action_is_recognized(native: Any, expected: bool) -> None:
    assert is_raw(native) is expected


# Nothing raises.

# JSON may hold lone surrogates, and who knows what a platform passes on.
TEXT = st.text(st.characters(), max_size=20)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
FIELDS = ["method", "headers", "path", "query", "body"]


def check(native: Any) -> Request:
    """Assert that ``native`` is a valid request, and is not changed."""
    before = copy.deepcopy(native)
    request = to_request(native)
    assert (type(request.method), type(request.path), type(request.body)) == (str, str, bytes)
    assert request.path
    assert request.method == request.method.upper()
    assert all(type(name) is type(value) is str for name, value in request.headers)
    assert all(type(alternative) is bytes for alternative in request.alternatives)
    assert type(is_raw(native)) is bool
    with pytest.raises(SignatureError):
        verified(VERIFIER, request, time.time())
    # NaN is not equal to itself, but its spelling is.
    assert repr(native) == repr(before)
    return request


@given(JSON)
@example(None)
@example([])
@example("x")
@example(1.5)
@example({"__ce_method": None, "__ce_headers": None, "__ce_path": None, "__ce_body": None})
@example({"__ow_method": ["post"], "__ow_headers": ["x"], "__ow_path": {}, "__ow_body": {"a": "b"}})
def test_any_json_is_a_request(native: Any) -> None:
    check(native)


@given(st.sampled_from([*DOCUMENTED]), st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1), st.booleans())
@settings(max_examples=300)
@example("__ce_", {"headers": {"X-Dt-Signature": ["a", "b"], "Content-Type": 1, "Host": None}}, False)
@example("__ow_", {"headers": {"content-type": "\ud800", "x-dt-signature": "\udfff"}, "path": "/\ud800"}, False)
@example("__ce_", {"body": "\ud800\udc00"}, False)
@example("__ow_", {"body": "\\ud800"}, False)
@example("__ce_", {"body": 'a"b\\'}, False)
@example("__ce_", {"body": "\\"}, False)
@example("__ce_", {"body": "\\" * 1001}, False)
def test_any_value_of_a_field_is_a_request(family: str, changes: dict[str, Any], remove: bool) -> None:
    for kind in ("application/json", "text/plain"):
        native = params(family, kind, "e30=", hs256(b"something else"))
        for name, value in changes.items():
            native[f"{family}{name}"] = value
            if remove:
                del native[f"{family}{name}"]
        check(native)


def test_header_that_is_not_text_is_dropped() -> None:
    headers: dict[str, Any] = {
        "X-Dt-Signature": ["a", "b"],
        "Host": "example.com",
        "A": None,
        "B": 1,
        "Content-Type": {},
    }
    request = to_request({"__ce_method": "POST", "__ce_headers": headers, "__ce_body": "e30="})
    assert list(request.headers) == [("Host", "example.com")]


@pytest.mark.parametrize("method", [None, 1, True, ["POST"], {"POST": 1}], ids=repr)
def test_method_that_is_not_text_is_empty(method: Any) -> None:
    assert check(params("__ce_", None, "e30=") | {"__ce_method": method}).method == ""


@pytest.mark.parametrize("headers", [None, [], "x", 1, [["X-Dt-Signature", "token"]]], ids=repr)
def test_headers_that_are_not_a_mapping_are_dropped(headers: Any) -> None:
    assert check(params("__ce_", None, "e30=") | {"__ce_headers": headers}).headers == []


@pytest.mark.parametrize("native", [{}, None, [], "x", {"__ce_body": "e30="}, {"__ce_method": 1}], ids=repr)
def test_missing_method_is_405(native: Any) -> None:
    response = UnconfiguredReceiver(SettingsError(["x"])).handle(to_request(native))
    assert to_response(response)["statusCode"] == 405


@pytest.mark.parametrize("text", ["e30", "e3=0", "e30=\n", " e30=", "_-==", "é30=", "e30=e30=", "=", "e30=\x00"])
def test_invalid_base64_body_is_kept_as_text(text: str) -> None:
    """A lenient decoder would drop unknown characters, and change the body."""
    request = to_request(params("__ce_", "application/json", text))
    assert (request.body, request.alternatives) == (text.encode(), ())


def test_lone_surrogates_are_kept() -> None:
    """No signature can match them, but two different bodies must not become the same."""
    native = json.loads(r'{"__ce_method": "POST", "__ce_body": "a\ud800b\udc00"}')
    assert to_request(native).body == b"a\xed\xa0\x80b\xed\xb0\x80"
    assert to_request(json.loads(r'{"__ce_method": "POST", "__ce_body": "\ud83d\ude00"}')).body == "😀".encode()


def test_large_body_is_decoded_once_for_each_encoding() -> None:
    """An unverified request takes little time: a platform's largest body has 5 MB."""
    started = time.thread_time()
    for text in ('\\"' * 2_500_000, "e30=" * 1_250_000, "\\" * 5_000_000, "\\u0041" * 800_000):
        assert to_request(params("__ce_", "application/json", text)).body
    assert time.thread_time() - started < 5


# Answers.

ANSWERS = [
    receiver.UNVERIFIED,
    receiver.TOO_LARGE,
    receiver.NOT_ALLOWED,
    receiver.UNAVAILABLE,
    receiver.BUG,
    receiver.HEALTHY,
    *receiver._RECEIPTS.values(),
]


@pytest.mark.parametrize("response", ANSWERS, ids=lambda response: f"{response.status}")
def test_answer_format_of_each_platform(response: Response) -> None:
    result = to_response(response)
    assert result.keys() == {"statusCode", "headers", "body"}
    # Not a bool, not a text, and always there: whatever else is a 200, or a 422.
    assert type(result["statusCode"]) is int
    assert result["statusCode"] == response.status
    expected = {name: value for name, value in response.headers if name != "content-length"}
    assert result["headers"] == expected
    # The front door adds the length, and two lengths would allow response smuggling.
    assert "content-length" not in json.dumps(result).lower()
    assert type(result["body"]) is str
    assert base64.b64decode(result["body"], validate=True) == response.body
    if response.body:
        assert json.loads(base64.b64decode(result["body"]))["status"] == response.status
    for answer_of in (code_engine_answer, openwhisk_answer):
        answer = answer_of(json.loads(json.dumps(result)))
        assert (answer.status, answer.headers, answer.body) == (response.status, expected, response.body)
