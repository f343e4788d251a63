"""What the settings import, and what they say of a missing package."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.core.settings.loading import ES256, HS256, ROOT, faults
from tests.support.deliveries import body, hs256


def run(program: str, given: object = None) -> Any:
    """Run ``program`` in a subprocess; return its output, parsed as JSON."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], input=json.dumps(given).encode(), cwd=ROOT, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


IMPORTS = """
import io, json, sys, time
import core.receiver
from core.http import Request
from core.log import Log
from core.settings import Settings
from core.stores.contract import Outcome

HEAVY = {"jwt", "cryptography", "urllib.request"}
loaded = [sorted(HEAVY & sys.modules.keys())]

class Store:
    def put(self, event, deadline):
        return Outcome.STORED

given = json.load(sys.stdin)
settings = Settings.load(given["environ"])
loaded.append(sorted(HEAVY & sys.modules.keys()))
request = Request("POST", "/", [("X-Dt-Signature", given["token"])], given["body"].encode())
answer = core.receiver.Receiver(settings, Store(), Log(io.StringIO())).handle(request)
loaded.append(sorted(HEAVY & sys.modules.keys()))
print(json.dumps([answer.status, *loaded]))
"""


def test_hs256_only_needs_no_pyjwt_cryptography_or_urllib() -> None:
    """They take longer to import than all of the core, and would slow a cold start."""
    given = {"environ": HS256, "token": hs256(body()), "body": body().decode()}
    assert run(IMPORTS, given) == [200, [], [], []]


def test_es256_needs_pyjwt_and_cryptography() -> None:
    given = {"environ": HS256 | {"DT_ORGANIZATION_ID": "dt"}, "token": hs256(body()), "body": body().decode()}
    status, before, *after = run(IMPORTS, given)
    assert (status, before) == (200, [])
    assert after == [["cryptography", "jwt", "urllib.request"]] * 2


WITHOUT = """
import json, sys
missing, environ = json.load(sys.stdin)

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
from core.settings import Settings
try:
    Settings.load(environ)
    print(json.dumps("loaded"))
except Exception as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""


@pytest.mark.parametrize("missing", ["cryptography", "jwt"])
def test_hs256_only_loads_without_pyjwt_and_cryptography(missing: str) -> None:
    assert run(WITHOUT, [missing, HS256]) == "loaded"


@pytest.mark.parametrize("environ", [{"DT_ORGANIZATION_ID": "dt"}, ES256], ids=["published", "pinned"])
@pytest.mark.parametrize("missing", ["cryptography", "jwt"])
def test_missing_package_is_a_fault_that_names_it(missing: str, environ: dict[str, str]) -> None:
    fault = f"DT_ORGANIZATION_ID needs the package {missing}: pip install PyJWT cryptography."
    assert run(WITHOUT, [missing, environ]) == f"SettingsError: {fault}"


def test_missing_package_hides_no_other_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "core.verify.jwks")
    monkeypatch.setitem(sys.modules, "jwt", None)
    package, leeway = faults(ES256 | {"DT_LEEWAY": "x"})
    assert package.startswith("DT_ORGANIZATION_ID needs the package jwt: ")
    assert leeway.startswith("DT_LEEWAY ")
