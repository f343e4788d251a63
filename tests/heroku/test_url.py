"""DATABASE_URL in the forms that people use: it works, or the error is one sentence without the password."""

import pytest

from core.environment import SettingsError
from heroku.url import normalized, one_per_host
from tests.heroku.programs import run_module
from tests.support.deliveries import SECRET


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d", "?sslmode=require"),
        ("postgres://u:p@example.com/d?sslmode=verify-full", "?sslmode=verify-full"),
        ("postgres://u:p@example.com/d?sslmode=no-verify", "?sslmode=require"),
        ("postgres://u:p@127.0.0.1/d", "/d"),
        ("postgres://u:p@LOCALHOST/d", "/d"),
        ("postgres://u:p@[::1]:5432/d", "/d"),
        ("postgres://u:p@127.0.0.1,example.com/d", "?sslmode=require"),
        ("postgres:///d?host=%2Ftmp", "/d?host=%2Ftmp"),
        ("postgres:///d?host=example.com", "&sslmode=require"),
        ("postgres://u@%2Ftmp/d", "/d"),
    ],
)
def test_tls_is_required_except_for_loopback(url: str, expected: str) -> None:
    assert normalized(url).endswith(expected)


@pytest.mark.parametrize(
    "url",
    [
        " postgres://u:p@127.0.0.1/d\r\n",
        '"postgres://u:p@127.0.0.1/d"',
        "'postgres://u:p@127.0.0.1/d' ",
        "POSTGRES://u:p@127.0.0.1/d",
        "postgresql://u:p@127.0.0.1/d",
        "postgresql+asyncpg://u:p@127.0.0.1/d",
        "postgresql+psycopg2://u:p@127.0.0.1/d",
        "postgres://u:p@127.0.0.1/d?",
    ],
)
def test_equivalent_urls_are_normalized(url: str) -> None:
    assert normalized(url) == "postgres://u:p@127.0.0.1/d"
    assert normalized(normalized(url)) == normalized(url)


def test_unambiguous_characters_in_a_password_are_accepted() -> None:
    assert normalized("postgres://u:p@:%s[é@127.0.0.1/d") == "postgres://u:p%40%3A%25s%5B%C3%A9@127.0.0.1/d"
    assert normalized("postgres://u:p%23%2F@127.0.0.1/d") == "postgres://u:p%23%2F@127.0.0.1/d"


def test_several_hosts_are_tried_one_by_one() -> None:
    urls = one_per_host(normalized("postgres://u:p%40@a:1,b/d"))
    assert urls == ["postgres://u:p%40@a:1/d?sslmode=require", "postgres://u:p%40@b/d?sslmode=require"]


BAD = {
    "hash": ("postgres://u:hidden#hidden@127.0.0.1/d", "%23"),
    "empty label": ("postgres://u:hidden@db..example.com/d", "host"),
    "long label": (f"postgres://u:hidden@{'a' * 64}.example.com/d", "host"),
    "port parameter": ("postgres://u:hidden@/d?host=127.0.0.1&port=abc", "port"),
    "hash after a number": ("postgres://u:123#hidden@127.0.0.1/d", "%23"),
    "slash": ("postgres://u:hidden/hidden@127.0.0.1/d", "%2F"),
    "slash after a number": ("postgres://u:123/hidden@127.0.0.1/d", "%2F"),
    "question mark": ("postgres://u:hidden?hidden@127.0.0.1/d", "%3F"),
    "question mark after a number": ("postgres://u:123?hidden=1@127.0.0.1/d", "%3F"),
    "several": ("postgres://u:hidden@hidden?hidden=1@127.0.0.1/d", "%3F"),
    "no scheme": ("u:hidden@127.0.0.1/d", "postgres://"),
    "another database": ("mysql://u:hidden@127.0.0.1/d", "postgres://"),
    "Java": ("jdbc:postgresql://127.0.0.1/d?password=hidden", "postgres://"),
    "one quote": ('"postgres://u:hidden@127.0.0.1/d', "postgres://"),
    "no name": ("postgres://u:hidden@127.0.0.1", "no database"),
    "no name after a slash": ("postgres://u:hidden@127.0.0.1/", "no database"),
    "port": ("postgres://u:hidden@127.0.0.1:http/d", "port"),
    "large port": ("postgres://u:hidden@127.0.0.1:65536/d", "port"),
    "no host": ("postgres://u:hidden/d", "port"),
    "comma": ("postgres://u:hidden@a,,b/d", "host"),
    "sslmode": ("postgres://u:hidden@127.0.0.1/d?sslmode=yes", "verify-full"),
    "parameter": ("postgres://u:hidden@127.0.0.1/d?hidden=1", "application_name"),
    "no parameters": ("postgres://u:hidden@127.0.0.1/d?hidden", "?name=value"),
    "no file": ("postgres://u:hidden@127.0.0.1/d?sslrootcert=/hidden", "sslrootcert"),
}


@pytest.mark.parametrize(("url", "advice"), BAD.values(), ids=BAD.keys())
def test_unusable_url_is_a_fault_without_the_password(url: str, advice: str) -> None:
    with pytest.raises(SettingsError) as caught:
        normalized(url)
    assert advice in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert "123" not in str(caught.value)


@pytest.mark.parametrize("module", ["heroku", "heroku.release", "heroku.worker"])
def test_each_program_reports_an_unusable_url_at_start(module: str) -> None:
    found = run_module(module, DATABASE_URL="postgres://u:hidden#hidden@127.0.0.1/d", DT_SIGNATURE_SECRET=SECRET)
    assert found.returncode == 1
    assert found.stderr.startswith("DATABASE_URL has a reserved character")
    assert "hidden" not in found.stderr + found.stdout
    assert found.stderr.count("\n") == 1
