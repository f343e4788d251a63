"""The curl commands of DT's documentation: only host, keys, ids and the endpoint are replaced."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dt_cloud import CONNECTORS, DEVELOPER, FIRST_PROJECT, DtCloud

DOCUMENTS = Path(os.environ.get("DT_DOCUMENTS", Path(__file__).parents[3] / "shared" / "docs"))
# A command ends at a line without a backslash; on one page, text follows on the same line, after the last quote.
_COMMAND = re.compile(r"^curl -X (?:.*\\\n)+.*$", re.MULTILINE)
_REST = re.compile(r"(['\"])Once the package is installed.*")


def commands() -> list[str]:
    """Return each distinct command of the documents, in order."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(DOCUMENTS.glob("*.txt")))
    found = [_REST.sub(r"\1", each) for text in texts for each in _COMMAND.findall(text)]
    # Indentation differs from page to page.
    return list({re.sub(r"\s+", " ", each): each for each in found}.values())


def id_of(command: str) -> str:
    return re.sub(r"[^a-zA-Z:]+", "-", command.rpartition("SECRET>")[2].strip())[:50] or command.split('"')[1][-15:]


COMMANDS = commands()


@pytest.fixture
def connector(shared: DtCloud) -> Iterator[str]:
    """The id of a connector."""
    number = shared.connector("http://127.0.0.1:9/")
    yield number
    shared.desk("DELETE", f"/connectors/{number}")


def run(command: str, shared: DtCloud, connector: str) -> Any:
    account = shared.accounts[DEVELOPER]
    for found, put in (
        ("https://api.d21s.com", shared.url),
        ("<PROJECT_ID>", FIRST_PROJECT),
        ("<DATA_CONNECTOR_ID>", connector),
        ("<SERVICE_ACCOUNT_KEY_ID>", account.key_id),
        ("<SERVICE_ACCOUNT_SECRET>", account.secret),
        ("https://webhook.site/<RANDOM_ID>", "http://127.0.0.1:9/hook"),
    ):
        command = command.replace(found, put)
    # One command in the documents lacks its last quote.
    command += "'" if command.count("'") % 2 else ""
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("curl ", "curl -s --noproxy '*' ", 1)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not COMMANDS, reason="DT's documents are not here: set DT_DOCUMENTS to the folder of their texts")
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: install it")
@pytest.mark.parametrize("command", COMMANDS, ids=id_of)
def test_curl_command_of_the_documents_works(command: str, shared: DtCloud, connector: str) -> None:
    answer = run(command, shared, connector)
    found = shared.call("GET", f"{CONNECTORS}/{connector}")
    if ":metrics" in command:
        assert answer["metrics"]["successCount"] == 0
    elif ":sync" in command:
        assert answer == {}
    elif "-X POST" in command:
        assert (answer["displayName"], answer["httpConfig"]["url"]) == ("Example", "http://127.0.0.1:9/hook")
        shared.call("DELETE", f"/{answer['name']}")
    else:
        assert answer == found
        given = json.loads(command.partition("-d '")[2].rstrip("'"))
        config = given.pop("httpConfig", {})
        assert found | given == found
        assert found["httpConfig"] | config == found["httpConfig"]


@pytest.mark.skipif(not COMMANDS, reason="DT's documents are not here: set DT_DOCUMENTS to the folder of their texts")
def test_the_documents_have_these_lines() -> None:
    text = "\n".join(COMMANDS)
    for each in ('"status"', '"events"', '"labels"', '"headers"', '"signatureSecret"', ":sync", ":metrics", '"type"'):
        assert each in text
