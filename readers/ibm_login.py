"""The login of the IBM Cloud CLI, for IBM's client of Cloudant."""

import re
import shutil
import subprocess
import time
from typing import Any

from ibm_cloud_sdk_core.authenticators import Authenticator

from readers import ReaderError

PROGRAM = "ibmcloud"
# A token is valid for an hour at most, and the program renews its own: https://cloud.ibm.com/docs/iam
_SECONDS = 600.0
_TIMEOUT = 60.0
_TOKEN = re.compile(r"Bearer [\w.~+/=-]+").search


class CliLogin(Authenticator):  # type: ignore[misc]  # the SDK has no types
    """Whoever is logged in by the IBM Cloud CLI."""

    def __init__(self) -> None:
        self._token = ""
        self._ends = 0.0

    def authentication_type(self) -> str:
        """Return the SDK's name of this kind; it has none for it."""
        return PROGRAM

    def validate(self) -> None:
        """Accept it: the program itself says whether somebody is logged in."""

    def authenticate(self, req: dict[str, Any]) -> None:
        """Add the token to a request.

        Raises:
            ReaderError: The program gives none.
        """
        if time.monotonic() >= self._ends:
            self._token = _fetch()
            self._ends = time.monotonic() + _SECONDS
        req["headers"]["Authorization"] = self._token


def _fetch() -> str:
    path = shutil.which(PROGRAM)
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are a list, without a shell
            [path or PROGRAM, "iam", "oauth-tokens"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReaderError(f"ibmcloud gives no token: {type(error).__name__}.") from None
    found = _TOKEN(done.stdout)
    if done.returncode or not found:
        raise ReaderError(
            "ibmcloud gives no token. Log in with ibmcloud login, or set CLOUDANT_APIKEY to an API key that has the "
            "role Reader on the instance."
        )
    return found[0]
