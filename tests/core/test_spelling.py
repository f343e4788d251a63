"""Which name a misspelt one means."""

import pytest

from core.spelling import likeliest, nearest

NAMES = ("humidity", "temperature", "touch", "touchCount")


@pytest.mark.parametrize(
    "name",
    [
        *("temperature", "Temperature", "temperatur", "emperature", "temperture", "temperaturee", "ttemperature"),
        *("temperatuxe", "xemperature", "etmperature", "temperatuer", "tempearture"),
    ],
)
def test_nearest_differs_by_case_and_one_letter_or_a_swap(name: str) -> None:
    assert nearest(name, NAMES) == "temperature"


@pytest.mark.parametrize("name", ["", "temperatu", "texperatuxe", "ettperature", "etmperatuer", "tempreatrue"])
def test_two_differences_are_not_near(name: str) -> None:
    assert nearest(name, NAMES) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tuoch", "touch"),
        ("tem", "temperature"),
        ("HUM", "humidity"),
        ("touchCou", "touchCount"),
        ("te", None),
        ("temprture", "temperature"),
        ("pressure", None),
    ],
)
def test_likeliest_also_completes_and_guesses(name: str, meant: str | None) -> None:
    assert likeliest(name, NAMES) == meant
