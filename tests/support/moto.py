"""moto_server in a subprocess, as a stand-in for AWS; it can be frozen, killed and restarted.

It stores in memory, so ``kill`` loses everything. It differs from AWS: every permission is granted unless
``enforce_iam`` is called, CloudFormation ignores unknown types, and invoking a function needs Docker.
"""

import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from botocore.config import Config

from tests.support.aws import REGION, environment, session
from tests.support.ports import free_port
from tests.support.processes import StandIn, spawn

ACCOUNT = "123456789012"


class MotoServer(StandIn):
    """One server. ``restart`` starts it again on the same port, empty.

    Attributes:
        port: Where it listens, on 127.0.0.1 only.
        url: The same, for AWS_ENDPOINT_URL.
        process: The process; None if it does not run.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment for AWS's tools to use only this server."""
        return environment(self.url)

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.process = spawn(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "MOTO_ACCOUNT_ID": ACCOUNT},
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not self._is_ready():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with _direct.open(f"{self.url}/moto-api/data.json", timeout=60):
                return True
        except (urllib.error.URLError, OSError):
            return False

    @property
    def log(self) -> str:
        """The server's output, a line for each request."""
        # The position in the file is the server's too: it writes there.
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    def restart(self) -> None:
        """Start again on the same port, empty."""
        super().close()
        self.start()

    def close(self) -> None:
        """Stop it, and delete its log."""
        super().close()
        self._log.close()

    def enforce_iam(self, enforce: bool = True) -> None:
        """Enforce IAM's policies from now on, or grant everything again."""
        actions_without = b"0" if enforce else b"inf"
        headers = {"Content-Type": "text/plain"}
        with _direct.open(
            urllib.request.Request(f"{self.url}/moto-api/reset-auth", actions_without, headers), timeout=60
        ):
            pass

    def client(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """Return a botocore client of this server.

        Args:
            service: The service's name in botocore.
            credentials: As from STS, with AccessKeyId, SecretAccessKey and SessionToken; default: the root user.
        """
        credentials = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test"}
        return session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials.get("SessionToken"),
            config=Config(proxies={}, connect_timeout=30, read_timeout=60, retries={"total_max_attempts": 1}),
        )


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def moto_server() -> Iterator[MotoServer]:
    """Yield a new server."""
    server = MotoServer()
    try:
        server.start()
        yield server
    finally:
        server.close()
