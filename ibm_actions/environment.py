"""The environment of both, the function and the application: which instance of Cloudant, and as whom."""

import base64
import os
import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from core.settings import SettingsError, is_secure_url, required
from ibm_actions.capacity import Capacity
from ibm_actions.cloudant import CloudantStore
from ibm_actions.databases import PERIODS, Databases
from ibm_actions.rest import FixedLogin, Login, Service

_URL = re.compile(r"(https?)://(?:([^\s/?#@:]+):([^\s/?#@]*)@)?([^\s/?#@]+)/?").fullmatch
# https://docs.couchdb.org/en/stable/api/database/common.html#put--db, and a hyphen follows.
_PREFIX = re.compile("[a-z][a-z0-9_-]{0,99}").fullmatch
# In Code Engine; elsewhere; to an Apache CouchDB.
_WAYS = "Set one of DT_TRUSTED_PROFILE, DT_CLOUDANT_API_KEY, and a user with its password in DT_CLOUDANT."


def build_store(environ: Mapping[str, str]) -> CloudantStore:
    """Build the store.

    Raises:
        core.settings.SettingsError: It cannot be built from this environment.
    """
    cloudant = build_service(environ)
    return CloudantStore(cloudant, build_databases(environ, cloudant), Capacity(cloudant))


def build_service(environ: Mapping[str, str]) -> Service:
    """Build Cloudant, called as whom the environment names; errors as above."""
    url = required(environ, "DT_CLOUDANT", "the address of the Cloudant instance. ibm_actions/deploy sets it")
    found = _URL(url)
    scheme, user, password, host = found.groups() if found else ("", None, None, "")
    # Without TLS only to an Apache CouchDB in one's own network; those have a user.
    if not host or not (user or is_secure_url(f"{scheme}://{host}")):
        raise SettingsError(
            ["DT_CLOUDANT must be an address such as https://INSTANCE.cloudantnosqldb.appdomain.cloud."]
        )
    return Service(f"{scheme}://{host}", _login(environ, user, password))


def build_databases(environ: Mapping[str, str], cloudant: Service) -> Databases:
    """Build what knows the databases of an instance; errors as above."""
    prefix = environ.get("DT_DATABASE_PREFIX") or "events"
    period = environ.get("DT_DATABASE_PERIOD") or "year"
    faults = []
    if not _PREFIX(prefix):
        faults.append("DT_DATABASE_PREFIX must be of a to z, 0 to 9, _ and -, and begin with a letter.")
    if period not in PERIODS:
        faults.append("DT_DATABASE_PERIOD must be month, quarter or year.")
    if faults:
        raise SettingsError(faults)
    return Databases(cloudant, prefix, period)


def _login(environ: Mapping[str, str], user: str | None, password: str | None) -> Login:
    ways = {
        "DT_TRUSTED_PROFILE": environ.get("DT_TRUSTED_PROFILE"),
        "DT_CLOUDANT_API_KEY": environ.get("DT_CLOUDANT_API_KEY"),
        "a user in DT_CLOUDANT": user,
    }
    chosen = [name for name, value in ways.items() if value]
    if len(chosen) != 1:
        raise SettingsError([f"{_WAYS} There is {' and '.join(chosen) or 'none'}."])
    if user:
        # In UTF-8, as CouchDB reads them, or whatever bytes the environment has.
        pair = b":".join(unquote_to_bytes(os.fsencode(part)) for part in (user, password or ""))
        return FixedLogin(f"Basic {base64.b64encode(pair).decode()}")
    iam = environ.get("DT_IAM_URL") or "https://iam.cloud.ibm.com"
    if not is_secure_url(iam):
        raise SettingsError(["DT_IAM_URL must be an https address; leave it out for the public one of IBM Cloud."])
    # Here, because it takes longer than all the rest, and a CouchDB does without.
    from ibm_actions.identity import iam_login

    return iam_login(ways["DT_TRUSTED_PROFILE"], ways["DT_CLOUDANT_API_KEY"], iam.rstrip("/"))
