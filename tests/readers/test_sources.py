"""The URLs of stores."""

import tomllib
from pathlib import Path

import pytest

from readers import ReaderError
from readers.sources import SOURCES, identity, open_reader, scheme_of
from tests.cli.stored import fill
from tests.support.processes import ROOT


@pytest.mark.parametrize("scheme", SOURCES)
def test_every_store_has_an_example_and_an_extra(scheme: str) -> None:
    source = SOURCES[scheme]
    assert scheme_of(source.example) == scheme
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert source.extra is None or source.extra in extras


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://me:hidden@host:5432/name?sslmode=require", "postgres:host:5432/name"),
        ("'postgresql+asyncpg://me:hi%40den@host/name'", "postgres:host/name"),
        ("dynamodb:events?region=eu-west-1", "dynamodb:events"),
        ("cloudant:https://user:hidden@host/events", "cloudant:https://host/events"),
        ("sqlite:/var/events.db", "sqlite:/var/events.db"),
        ("/var/events.db", "sqlite:/var/events.db"),
    ],
)
def test_identity_has_no_password(url: str, expected: str) -> None:
    assert identity(url).replace("postgres://", "postgres:") == expected


def test_file_with_a_colon_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(ReaderError, match="There is no database at"):
        open_reader(str(tmp_path / "a:b.db"))


@pytest.mark.parametrize(("url", "meant"), [("dynamo:x", "dynamodb"), ("sqllite:copy.db", "sqlite"), ("s3:x", None)])
def test_misspelt_scheme_is_no_file(url: str, meant: str | None) -> None:
    with pytest.raises(ReaderError) as caught:
        open_reader(url)
    assert str(caught.value).endswith(f"Do you mean {meant}:?" if meant else ".")


def test_name_of_a_file_is_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "e.db", [])
    monkeypatch.chdir(tmp_path)
    for url in ("e.db", "sqlite:e.db", str(tmp_path / "e.db")):
        with open_reader(url) as reader:
            assert reader.identity() == f"sqlite:{tmp_path / 'e.db'}"


def test_url_of_another_database_is_not_quoted() -> None:
    with pytest.raises(ReaderError) as caught:
        open_reader("mysql://me:hidden@host/name")
    assert "hidden" not in str(caught.value)
    assert "dynamodb" in str(caught.value)
