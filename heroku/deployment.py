"""Finds a deployed app, its secret and its database, for dtconn, by the Heroku CLI.

The CLI sets a config var only by its command line, which every user of the machine can see. So the value goes to
Heroku's API, with the CLI's own token: https://devcenter.heroku.com/articles/platform-api-reference#config-vars-update
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from deployed import DeploymentError
from deployed.contract import Deployment, Place
from deployed.vendor import Tool

API = "https://api.heroku.com"
_TIMEOUT = 30.0
_SECRET = "DT_SIGNATURE_SECRET"  # noqa: S105 - its name
# Where the package is pushed from: its git remote names the app.
_PUSHED = Path(__file__).resolve().parent.parent / "dist" / "heroku"
_HEROKU = Tool("heroku", "https://devcenter.heroku.com/articles/heroku-cli", "heroku login")


def find(place: Place) -> Deployment:
    """Return the app of that name; without one, the app that dist/heroku is pushed to."""
    app = ["--app", place.name] if place.name else []
    folder = _PUSHED if not app and _PUSHED.is_dir() else None
    found = _HEROKU.json("apps:info", *app, "--json", folder=folder)["app"]
    return _App(str(found["name"]), str(found["web_url"]))


class _App(Deployment):
    def __init__(self, app: str, url: str) -> None:
        self._app = app
        self.url = url
        self.source = str(self._config().get("DATABASE_URL", ""))
        self.secret_command = f"heroku config:get {_SECRET} --app {app}"

    def read_text(self) -> str:
        return str(self._config().get(_SECRET, ""))

    def write_text(self, text: str) -> str:
        token = _HEROKU.run("auth:token").strip()
        headers = {
            "Accept": "application/vnd.heroku+json; version=3",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        body = json.dumps({_SECRET: text}).encode()
        request = urllib.request.Request(  # noqa: S310 - the scheme is https
            f"{API}/apps/{self._app}/config-vars", body, headers, method="PATCH"
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310 - as above
                pass
        except urllib.error.HTTPError as error:
            with error:
                raise DeploymentError(
                    f"Heroku's API answers {error.code} to the change of {_SECRET}: may you change the app {self._app}?"
                ) from None
        except OSError as error:
            raise DeploymentError(f"Heroku's API cannot be reached: {type(error).__name__}. Try again.") from None
        return f"{_SECRET} is changed. Heroku runs the release phase, and then restarts the dyno."

    def _config(self) -> dict[str, Any]:
        found: dict[str, Any] = _HEROKU.json("config", "--app", self._app, "--json")
        return found
