"""``make run``: the receiver on 127.0.0.1, with a secret of its own where none is set."""

import os
import secrets
import sys
from pathlib import Path

import uvicorn

from core.settings import SettingsError
from local.app import build_app

SECRET_FILE = Path("var/signature-secret")

WELCOME = """
Listening on http://127.0.0.1:{port}, storing in {database}. Try, in another terminal:

  make send                   sends one signed event, as DT Cloud would
  make events                 lists what is stored
  ngrok http {port}             gives DT Cloud a way here; the README has the rest
"""


def main() -> None:
    """Run until SIGTERM or Ctrl-C; then answer what is in flight, and stop."""
    environ = dict(os.environ)
    if not any(environ.get(name) for name in ("DT_SIGNATURE_SECRET", "DT_ORGANIZATION_ID", "DT_SIGNATURE_POLICY")):
        environ["DT_SIGNATURE_SECRET"] = own_secret(SECRET_FILE)
    try:
        app, port = build_app(environ), int(environ.get("PORT") or "8000")
    except SettingsError as error:
        sys.exit(str(error))
    except ValueError:
        sys.exit("PORT must be a number.")
    print(
        WELCOME.format(port=port, database=environ.get("DT_DATABASE") or "var/events.db"), file=sys.stderr, flush=True
    )
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, server_header=False, log_level="warning")


def own_secret(path: Path) -> str:
    """Return the secret in the file ``path``, which is made, readable to its owner alone, when it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


if __name__ == "__main__":
    main()
