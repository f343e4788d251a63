"""PouchDB's server in a subprocess, with Cloudant's additions to CouchDB. It stands in for Cloudant.

It is one node, so it has no quorum and never answers 202. Its only limit is that of databases.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ibm_cloud_sdk_core.authenticators import BasicAuthenticator, NoAuthAuthenticator
from ibmcloudant.cloudant_v1 import CloudantV1

from tests.support.ports import free_port, wait_for
from tests.support.processes import StandIn, spawn

_FOLDER = Path(__file__).with_name("node")


class CouchDb(StandIn):
    """A server whose data is in files, so that it survives a kill.

    Args:
        login: ``user:password``, if a login is required.
        token: A token that is accepted as ``Authorization: Bearer``, like IAM's, instead of a login.
        limit: The maximum number of databases, if limited.

    Attributes:
        port: Its port on 127.0.0.1.
        url: The same, for Cloudant's SDK or the settings.
        login: The given login.
    """

    def __init__(self, login: str = "", token: str = "", limit: int | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.login = login
        self._token = token
        self._limit = [str(limit)] if limit else []
        self._folder = tempfile.TemporaryDirectory()

    def counts(self) -> dict[str, int]:
        """Return the reads and the global queries so far, as Cloudant would count them."""
        with urllib.request.urlopen(f"{self.url}/_counts") as answer:
            counts: dict[str, int] = json.load(answer)
        return counts

    def start(self) -> None:
        """Start the server; after a `kill`, with its data."""
        node = shutil.which("node")
        if not node or not (_FOLDER / "node_modules" / "express-pouchdb").is_dir():
            pytest.skip("no express-pouchdb: install Node.js 20 or newer with npm, then `make test` installs it")
        program = [node, str(_FOLDER / "couchdb.mjs"), str(self.port), self._folder.name, self.login, self._token]
        program += self._limit
        # All its other files are also written into this folder.
        self.process = spawn(program, cwd=self._folder.name, stdout=subprocess.DEVNULL)
        wait_for(self.port, self.process)

    def close(self) -> None:
        """Stop the server, and delete its data."""
        super().close()
        self._folder.cleanup()


class Events:
    """New databases, read with IBM's own SDK, without the receiver.

    Attributes:
        prefix: The prefix of their names, as in the setting.
    """

    def __init__(self, server: CouchDb) -> None:
        # A name begins with a letter, and has no capital letters.
        self.prefix = f"e{uuid.uuid4().hex}"
        user, _, password = server.login.partition(":")
        self._cloudant = CloudantV1(BasicAuthenticator(user, password) if user else NoAuthAuthenticator())
        self._cloudant.set_service_url(server.url)
        # Ignore this machine's proxy and .netrc.
        self._cloudant.http_client.trust_env = False

    def databases(self) -> list[str]:
        """Return the databases' names, in order."""
        start, end = (json.dumps(f"{self.prefix}-{last}", ensure_ascii=False) for last in ("", "\ufff0"))
        found: list[str] = self._cloudant.get_all_dbs(start_key=start, end_key=end).get_result()
        return found

    def documents(self) -> list[dict[str, Any]]:
        """Return the events' documents of all databases in order of arrival, with the bodies that DT signed."""
        found = []
        for database in self.databases():
            rows = self._cloudant.post_all_docs(database, include_docs=True).get_result()["rows"]
            found += [row["doc"] for row in rows if not row["id"].startswith("_design/")]
        found = [{**document, "body": _body(document)} for document in found]
        return sorted(found, key=lambda document: str(document["receivedAt"]))

    def put(self, document: dict[str, Any]) -> None:
        """Put a document that is not an event into the last database."""
        self._cloudant.post_document(self.databases()[-1], document)


def _body(document: dict[str, Any]) -> bytes:
    body = str(document["body"])
    return base64.b64decode(body) if document.get("encoding") == "base64" else body.encode()


@contextmanager
def couchdb(login: str = "", token: str = "", limit: int | None = None) -> Iterator[CouchDb]:
    """Yield a new server, or skip if it is not installed."""
    server = CouchDb(login, token, limit)
    try:
        server.start()
        yield server
    finally:
        server.close()
