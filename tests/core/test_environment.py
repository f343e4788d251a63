"""Environment variables: values, and a report of all faults together, with what to set."""

import json
from pathlib import Path

import pytest

from core.environment import Environment, SettingsError, is_secure_url, parse_list, parse_names

ROOT = Path(__file__).parents[2]


def test_check_reports_every_invalid_variable() -> None:
    environment = Environment({"LEVEL": "c", "LIST": "[", "SECONDS": "x", "FLAG": "x", "DT_KEEP_DAYS": "x"})
    environment.required("TABLE", "the table")
    environment.one_of("LEVEL", "a", "b")
    environment.list("LIST", "the ids")
    environment.seconds("SECONDS", 1, 60)
    environment.flag("FLAG", True)
    environment.keep_days("DT_KEEP_DAYS")
    with pytest.raises(SettingsError) as caught:
        environment.check()
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "TABLE",
        "LEVEL",
        "LIST",
        "SECONDS",
        "FLAG",
        "DT_KEEP_DAYS",
    ]
    assert str(caught.value) == "\n".join(caught.value.faults)


def test_check_of_an_environment_without_faults() -> None:
    environment = Environment({"TABLE": "events"})
    environment.required("TABLE", "the table")
    environment.check()


@pytest.mark.parametrize("variables", [{}, {"X": ""}], ids=["missing", "empty"])
def test_empty_variable_counts_as_missing(variables: dict[str, str]) -> None:
    environment = Environment(variables)
    assert (environment.get("X"), environment.get("X", "default"), environment.list("X", "ids")) == ("", "default", [])
    assert (environment.seconds("X", 60, 600), environment.flag("X", True), environment.flag("X", False)) == (
        60,
        True,
        False,
    )
    assert environment.faults == []


def test_required_variable() -> None:
    assert Environment({"DT_TABLE": "events"}).required("DT_TABLE", "the table") == "events"
    for variables in ({}, {"DT_TABLE": ""}):
        environment = Environment(variables)
        assert environment.required("DT_TABLE", "the table") == ""
        assert environment.faults == ["DT_TABLE is not set: the table."]


def test_variable_with_choices() -> None:
    for variables, value in (({}, "a"), ({"X": ""}, "a"), ({"X": "a"}, "a"), ({"X": "b"}, "b"), ({"X": "c"}, "c")):
        assert Environment(variables).one_of("X", "a", "b", "c") == value
    for text in ("A", "a ", "d"):
        environment = Environment({"X": text})
        assert environment.one_of("X", "a", "b", "c") == "a"
        assert environment.faults == ["X must be a, b or c."]
    environment = Environment({"X": "c"})
    environment.one_of("X", "a", "b")
    assert environment.faults == ["X must be a or b."]


@pytest.mark.parametrize(("text", "days"), [(None, 365), ("", 365), ("0", 0), ("1", 1), ("9999", 9999)])
def test_keep_days(text: str | None, days: int) -> None:
    environment = Environment({} if text is None else {"DT_KEEP_DAYS": text})
    assert (environment.keep_days("DT_KEEP_DAYS"), environment.faults) == (days, [])


@pytest.mark.parametrize("text", ["-1", "10000", "2.5", "two", " 1", "1\n", "٣"])
def test_invalid_keep_days_deletes_nothing(text: str) -> None:
    environment = Environment({"DT_KEEP_DAYS": text})
    assert environment.keep_days("DT_KEEP_DAYS") == 0
    assert "DT_KEEP_DAYS" in environment.faults[0]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        (" \t\n", []),
        (" one\n", [" one\n"]),
        ('["one", " two "]', ["one", " two "]),
        *((text, None) for text in ("[", "[]", '[""]', '[" "]', "[1]", "[null]", '["one"] x', "[" * 100_000)),
    ],
)
def test_parse_list(text: str, values: list[str] | None) -> None:
    assert parse_list(text) == values


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" \t\n", []),
        (" one\n", ["one"]),
        ("one, two,three", ["one", "two", "three"]),
        ('["one","two"]', ["one", "two"]),
        *((text, None) for text in (",", "one,", "one,,two", ", one", "[one]", "[]")),
    ],
)
def test_parse_names(text: str, names: list[str] | None) -> None:
    assert parse_names(text) == names


@pytest.mark.parametrize(
    ("url", "is_secure"),
    [
        ("https://identity.example.com", True),
        ("http://localhost:8080/path", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:80", True),
        ("http://identity.example.com", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1@identity.example.com", False),
        ("http://localhost:80@identity.example.com", False),
        ("https://", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_secure_url(url: str, is_secure: bool) -> None:
    assert is_secure_url(url) == is_secure


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DT_EVENT_TYPE", "DT_EVENT_TYPES"),
        ("DT_PROJECT_IDS", "DT_PROJECT_ID"),
        ("dt_project_id", "DT_PROJECT_ID"),
        ("DT_TABEL", "DT_TABLE"),
    ],
)
def test_misspelt_variable_is_a_warning(name: str, meant: str) -> None:
    environment = Environment({name: "x"})
    assert environment.misspelt() == []
    environment.get(meant)
    assert environment.misspelt() == [f"{name} is not a setting. Do you mean {meant}?"]
    environment.get(name)
    assert environment.misspelt() == []


def test_variables_of_other_programs_are_ignored() -> None:
    key_vault = "@Microsoft.KeyVault(SecretUri=https://anybody.vault.azure.net/secrets/x/)"
    environment = Environment({"DT_FIXTURES": "x", "DT": "x", "EDT_PROJECT_ID": "x", "OTHER": key_vault})
    environment.get("DT_PROJECT_ID")
    environment.check_references()
    assert (environment.faults, environment.misspelt()) == ([], [])


@pytest.mark.parametrize("name", ["DT_STORAGE", "DT_ANYTHING", "dt_storage"])
def test_unresolved_key_vault_reference_is_a_fault_of_any_variable(name: str) -> None:
    reference = "@Microsoft.KeyVault(SecretUri=https://anybody.vault.azure.net/secrets/hidden/)"
    for value in (reference, json.dumps(["one", reference])):
        environment = Environment({name: value})
        environment.check_references()
        [fault] = environment.faults
        assert fault.startswith(f"{name} is a reference that Key Vault did not resolve")
        assert "hidden" not in fault
