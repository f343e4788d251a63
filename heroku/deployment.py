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
_ROOT = Path(__file__).resolve().parent.parent
# deploy.sh writes the app's name there.
_REMEMBERED = _ROOT / "var" / "heroku-app"
# Where the package is pushed from: its git remote names an app that was deployed before there was that file.
_PUSHED = _ROOT / "dist" / "heroku"
_HEROKU = Tool("heroku", "https://devcenter.heroku.com/articles/heroku-cli", "heroku login")


def find(place: Place) -> Deployment:
    """Return the app of that name; without one, the app of the last deployment from here.

    Raises:
        DeploymentError: The CLI fails, or the name that deploy.sh kept cannot be read.
    """
    name = place.name or _remembered()
    app = ["--app", name] if name else []
    folder = _PUSHED if not app and _PUSHED.is_dir() else None
    found = _HEROKU.json("apps:info", *app, "--json", folder=folder)["app"]
    return _App(str(found["name"]), str(found["web_url"]))


def _remembered() -> str:
    if not _REMEMBERED.exists():
        return ""
    try:
        name = _REMEMBERED.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise DeploymentError(f"var/heroku-app cannot be read: {type(error).__name__}. Name the app.") from None
    if not name:
        raise DeploymentError("var/heroku-app is empty: name the app.")
    return name


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
