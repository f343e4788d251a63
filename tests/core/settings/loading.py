"""Settings that load, and the faults of those that do not."""

from pathlib import Path

import pytest

from core.environment import SettingsError
from core.settings import Settings
from tests.support.deliveries import ORGANIZATION, SECRET
from tests.support.es256 import JWKS

ROOT = Path(__file__).parents[3]
OTHER_SECRET = "another signature secret, of 41 bytes too"
HS256 = {"DT_SIGNATURE_SECRET": SECRET}
ES256 = {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS}
UNSIGNED = {"DT_SIGNATURE_POLICY": "unsigned"}
VARIABLES = [
    "DT_SIGNATURE_SECRET",
    "DT_ORGANIZATION_ID",
    "DT_SIGNATURE_POLICY",
    "DT_JWKS",
    "DT_ISSUER",
    "DT_LEEWAY",
    "DT_ACCEPT_EXPIRED_FOR",
    "DT_ACCEPT_SHA1",
    "DT_EVENT_TYPES",
    "DT_PROJECT_ID",
]


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    assert str(caught.value) == "\n".join(caught.value.faults)
    assert caught.value.faults
    return caught.value.faults
