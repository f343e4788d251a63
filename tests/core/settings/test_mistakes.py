"""Misspelt names, and references in place of a secret."""

import json

import pytest

from core.settings import Settings
from tests.core.settings.loading import HS256, faults
from tests.support.deliveries import SECRET

# Misspelt names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temperatur", "temperature"),
        ("Temperature", "temperature"),
        ("temperatures", "temperature"),
        ("temeprature", "temperature"),
        ("networkstatus", "networkStatus"),
        ("tempratur", "temperature"),
        ("objectPresence", "objectPresent"),
        ("battery", "batteryStatus"),
        ("temp", "temperature"),
        ("co3", "co2"),
    ],
)
def test_misspelt_event_type_is_a_fault(name: str, meant: str) -> None:
    [fault] = faults({**HS256, "DT_EVENT_TYPES": json.dumps(["touch", name])})
    assert f"'{name}'" in fault
    assert f"Do you mean '{meant}'?" in fault


def test_misspelt_variable_is_a_warning() -> None:
    [warning] = Settings.load({**HS256, "DT_EVENT_TYPE": "x"}).warnings
    assert warning == "DT_EVENT_TYPE is not a setting. Do you mean DT_EVENT_TYPES?"


# References in place of a secret


KEY_VAULT = "@Microsoft.KeyVault(SecretUri=https://anybody.vault.azure.net/secrets/guesses-this/)"


@pytest.mark.parametrize("value", [KEY_VAULT, f" {KEY_VAULT}", json.dumps([SECRET, KEY_VAULT]), KEY_VAULT.upper()])
@pytest.mark.parametrize("name", ["DT_SIGNATURE_SECRET", "DT_ORGANIZATION_ID", "DT_STORAGE"])
def test_unresolved_key_vault_reference_is_a_fault(name: str, value: str) -> None:
    found = faults({**HS256, name: value})
    assert any(fault.startswith(f"{name} is a reference that Key Vault did not resolve") for fault in found)
    assert "guesses-this" not in "".join(found)


@pytest.mark.parametrize(
    "reference",
    [
        "{{resolve:secretsmanager:dt-receiver-signature:SecretString}}",
        "arn:aws:secretsmanager:eu-north-1:123456789012:secret:dt-receiver-signature",
        "projects/123456789012/secrets/dt-receiver-signature/versions/latest",
        "crn:v1:bluemix:public:secrets-manager:eu-de:a/0:0:secret:0",
        "${DT_SIGNATURE_SECRET}",
        "$DT_SIGNATURE_SECRET",
        "$(DT_SIGNATURE_SECRET)",
        "${{ secrets.DT_SIGNATURE_SECRET }}",
        "<your signature secret>",
        "op://vault/item/field",
    ],
)
def test_reference_in_place_of_the_secret_is_a_fault(reference: str) -> None:
    for index, value in ((0, reference), (1, json.dumps([SECRET, f" {reference}\n"]))):
        assert faults({"DT_SIGNATURE_SECRET": value}) == [
            f"DT_SIGNATURE_SECRET holds a reference to a secret (number {index}): set the secret itself."
        ]


@pytest.mark.parametrize("secret", ["$ecret" * 6, "a{{b}}" * 6, "<a>b" * 9, "projects" * 5, SECRET + "${X}"])
def test_secret_that_resembles_a_reference_is_accepted(secret: str) -> None:
    assert Settings.load({"DT_SIGNATURE_SECRET": secret}).verifier.secrets == (secret.encode(),)


@pytest.mark.parametrize("name", ["DT_EVENT_TYPES", "DT_PROJECT_ID"])
@pytest.mark.parametrize("value", ["all", "None", '["any"]', "null"])
def test_filter_for_everything_is_a_fault(name: str, value: str) -> None:
    assert any(
        fault.startswith(f"{name} must not be ") and "leave it out" in fault for fault in faults(HS256 | {name: value})
    )
