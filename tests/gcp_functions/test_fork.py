"""A fork that uses another adapter's store: one line of wiring; the package includes what it imports."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.deliveries import SECRET, body, signed
from tests.support.postgres import Postgres, execute
from tests.support.processes import ROOT

WIRED = "return build(environ, build_store, build_log(environ))"
FORK = "return build(environ, lambda environment: Blocking(build_postgres(environment)), build_log(environ))"
IMPORTS = "from core.stores.blocking import Blocking\nfrom heroku.wiring import build_store as build_postgres\n"

DELIVER = """
import json, sys
import main
from core.http import Request
body, headers = sys.stdin.buffer.read(), json.loads(sys.argv[1])
for _ in range(2):
    response = main.receiver.handle(Request("POST", "/", list(headers.items()), body))
    print(response.status, dict(response.headers)["event-outcome"])
"""


def test_fork_with_postgres_is_one_line_of_wiring(postgres: Postgres, tmp_path: Path) -> None:
    repository = tmp_path / "fork"
    for folder in ("core", "server", "heroku", "gcp_functions", "tools"):
        shutil.copytree(ROOT / folder, repository / folder)
    shutil.copy(ROOT / "LICENSE", repository)
    wiring = repository / "gcp_functions" / "wiring.py"
    text = wiring.read_text()
    assert WIRED in text
    wiring.write_text(
        text.replace(WIRED, FORK).replace("\nfrom core.environment", f"\n{IMPORTS}from core.environment", 1)
    )
    subprocess.run([sys.executable, "tools/package.py", "gcp"], cwd=repository, check=True, capture_output=True)
    package = repository / "dist" / "gcp_functions"
    assert (package / "heroku/postgres.py").is_file()
    assert not (package / "heroku/worker.py").exists()

    url = postgres.create_database()
    content = body()
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", DELIVER, json.dumps(dict(signed(content)))],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(package),
            "DT_SIGNATURE_SECRET": SECRET,
            "DATABASE_URL": url,
        },
        input=content,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stdout.decode().splitlines() if not line.startswith("{")]
    assert lines == ["200 stored", "200 duplicate"]
    assert [bytes(row[0]) for row in execute(url, "SELECT body FROM events")] == [content]
