"""The requests of DT's Terraform provider, which sends complete objects, and accepts only 200."""

import json
import time
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from tests.support.dt_cloud import CONNECTORS, DEVELOPER, DEVICES, DtCloud

URL = "http://127.0.0.1:9/"
OTHER_TYPES = {"azureServiceBusConfig": None, "azureEventHubConfig": None, "pubsubConfig": None, "awsSqsConfig": None}


@pytest.fixture(scope="module")
def bearer(shared: DtCloud) -> dict[str, str]:
    """A token requested like the provider's: no ``typ``, ``aud`` an array, ``iat`` 5 s ago."""
    account, now = shared.accounts[DEVELOPER], int(time.time()) - 5
    endpoint = f"{shared.url}/oauth2/token"
    claims = {"iat": now, "exp": now + 3600, "aud": [endpoint], "iss": account.email}
    assertion = jwt.encode(claims, account.secret, "HS256", {"kid": account.key_id, "typ": None})
    form = {"assertion": assertion, "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = shared.request("POST", "/oauth2/token", kind, urlencode(form).encode())
    assert answer.status == 200
    return {"Authorization": f"Bearer {json.loads(answer.body)['access_token']}"}


def send(shared: DtCloud, bearer: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    """Make a request, and return the document of a 200."""
    headers = {**bearer, "Content-Type": "application/json"}
    status, document, _ = shared.send(method, path, body, None, headers)
    assert status == 200, document
    return document


def test_a_data_connector(shared: DtCloud, bearer: dict[str, str]) -> None:
    config = {"url": URL, "signatureSecret": "s", "headers": {"a": "b"}}
    whole = {"name": "", "displayName": "tf", "type": "HTTP_PUSH", "status": "ACTIVE", "events": ["touch"],
             "labels": ["name"], "httpConfig": config, **OTHER_TYPES}  # fmt: skip
    made = send(shared, bearer, "POST", CONNECTORS, whole)
    name = made.pop("name")
    assert made == {key: whole[key] for key in made}
    changed = {**whole, "name": name, "displayName": "tf 2", "httpConfig": {**config, "headers": {"c": "d"}}}
    found = send(shared, bearer, "PATCH", f"/{name}", changed)
    assert found == {key: changed[key] for key in found} == send(shared, bearer, "GET", f"/{name}")
    # It has no argument for the status, and sends back the status that it read.
    shared.call("PATCH", f"/{name}", {"status": "USER_DISABLED"})
    kept = send(shared, bearer, "PATCH", f"/{name}", {**changed, "status": "USER_DISABLED"})
    assert kept["status"] == "USER_DISABLED"
    assert send(shared, bearer, "DELETE", f"/{name}") == {}
    assert shared.send("GET", f"/{name}", None, None, bearer)[0] == 404


def test_an_emulator(shared: DtCloud, bearer: dict[str, str]) -> None:
    made = send(shared, bearer, "POST", DEVICES, {"type": "temperature", "labels": {"name": "tf", "floor": "1"}})
    path = f"/{made['name']}"
    whole = {**made, "labels": {"name": "tf 2", "virtual-sensor": ""}}
    assert send(shared, bearer, "PUT", path, whole)["labels"] == {"name": "tf 2", "virtual-sensor": ""}
    assert send(shared, bearer, "GET", path)["labels"] == {"name": "tf 2", "virtual-sensor": ""}
    assert shared.send("PUT", path, {"labels": [1]}, None, bearer)[0] == 400
    assert send(shared, bearer, "DELETE", path) == {}
