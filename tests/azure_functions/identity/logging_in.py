"""How these tests log in."""

import json
import time
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import Call, Reply

SERVICE_BUS = "https://servicebus.azure.net"
STORAGE = "https://storage.azure.com"
HEADER = "the-header-that-nobody-may-see"
TOKEN = "eyJ.the-token-that-nobody-may-see."
SECRET = "the-words-of-azure-that-nobody-may-see"
DAY = 86_400


def token(number: int, lives: float = DAY) -> Reply:
    """Return an answer of App Service's."""
    document = {
        "access_token": f"{TOKEN}{number}",
        "client_id": "5E29463D-71DA-4FE0-8E69-999B57DB23B0",
        "expires_on": str(int(time.time() + lives)),
        "resource": SERVICE_BUS,
        "token_type": "Bearer",
    }
    return Reply(200, json.dumps(document).encode())


def asked(call: Call) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(call.path).query).items()}


REFUSED = json.dumps({"statusCode": 500, "message": SECRET}).encode()
