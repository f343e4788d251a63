"""Chooses the Cloudant instance and the login from the environment, for the function and the application."""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from core.assembly import build, build_async
from core.environment import Environment, is_secure_url
from core.receiver import AsyncReceiver, AsyncUnconfiguredReceiver, Receiver, UnconfiguredReceiver
from core.stores.threaded import Threaded
from ibm_actions.capacity import Capacity
from ibm_actions.cloudant import CloudantStore
from ibm_actions.databases import PERIODS, Databases
from ibm_actions.service import FixedLogin, Login, Service

_URL = re.compile(r"(https?)://(?:([^\s/?#@:]+):([^\s/?#@]*)@)?([^\s/?#@]+)/?").fullmatch
# https://docs.couchdb.org/en/stable/api/database/common.html#put--db, and a hyphen follows.
_PREFIX = re.compile("[a-z][a-z0-9_-]{0,99}").fullmatch
# In Code Engine; elsewhere; to an Apache CouchDB.
_WAYS = "Set one of DT_TRUSTED_PROFILE, DT_CLOUDANT_API_KEY, and a user with its password in DT_CLOUDANT."
# Concurrent calls to Cloudant, each with a connection of its own.
THREADS = 32


def build_receiver(environ: Mapping[str, str]) -> Receiver | UnconfiguredReceiver:
    """Build the function's receiver, even in an invalid environment; see `core.assembly.build`."""
    return build(environ, build_store)


def build_async_receiver(environ: Mapping[str, str]) -> AsyncReceiver | AsyncUnconfiguredReceiver:
    """Build the application's receiver, which has an event loop."""
    return build_async(environ, lambda environment: Threaded(build_store(environment), THREADS))


def build_store(environment: Environment) -> CloudantStore:
    """Build the store.

    Raises:
        core.environment.SettingsError: The environment is invalid.
    """
    databases = read_databases(environment)
    cloudant = build_service(environment)
    return CloudantStore(cloudant, Databases(cloudant, *databases), Capacity(cloudant))


def build_service(environment: Environment) -> Service:
    """Build the Cloudant service, with the login from the environment; errors as above."""
    cloudant = read_cloudant(environment)
    return Service(cloudant.address, _login(cloudant))


@dataclass(frozen=True, slots=True, repr=False)
class Cloudant:
    """The instance that the settings name, and who calls it: a user, or a trusted profile, or an API key.

    Attributes:
        address: The URL, without a database.
        user: Of an Apache CouchDB, percent-encoded as in the setting; so is the password.
        password: The user's.
        profile: The id of the trusted profile.
        api_key: The API key.
        iam: IAM's address.
    """

    address: str
    user: str
    password: str
    profile: str
    api_key: str
    iam: str


def read_cloudant(environment: Environment) -> Cloudant:
    """Read the settings of the instance; errors as above."""
    url = environment.required("DT_CLOUDANT", "the address of the Cloudant instance. ibm_actions/deploy sets it")
    found = _URL(url)
    scheme, user, password, host = found.groups() if found else ("", None, None, "")
    # Without TLS only for an Apache CouchDB in a private network; those have a user.
    if url and (not host or not (user or is_secure_url(f"{scheme}://{host}"))):
        environment.faults.append(
            "DT_CLOUDANT must be an address such as https://INSTANCE.cloudantnosqldb.appdomain.cloud."
        )
    profile, key = environment.get("DT_TRUSTED_PROFILE"), environment.get("DT_CLOUDANT_API_KEY")
    ways = {"DT_TRUSTED_PROFILE": profile, "DT_CLOUDANT_API_KEY": key, "a user in DT_CLOUDANT": user}
    chosen = [name for name, value in ways.items() if value]
    if len(chosen) != 1:
        environment.faults.append(f"{_WAYS} Found: {' and '.join(chosen) or 'none'}.")
    iam = environment.get("DT_IAM_URL", "https://iam.cloud.ibm.com")
    if not user and not is_secure_url(iam):
        environment.faults.append("DT_IAM_URL must be an https address; leave it out for IBM Cloud's public address.")
    environment.check()
    return Cloudant(f"{scheme}://{host}", user or "", password or "", profile, key, iam.rstrip("/"))


def read_databases(environment: Environment) -> tuple[str, str]:
    """Read the prefix and the period of the databases; add what is wrong to ``environment.faults``."""
    prefix = environment.get("DT_DATABASE_PREFIX", "events")
    period = environment.get("DT_DATABASE_PERIOD", "year")
    if not _PREFIX(prefix):
        environment.faults.append("DT_DATABASE_PREFIX must have only a to z, 0 to 9, _ and -, and begin with a letter.")
    if period not in PERIODS:
        environment.faults.append("DT_DATABASE_PERIOD must be month, quarter or year.")
    return prefix, period


def _login(cloudant: Cloudant) -> Login:
    if cloudant.user:
        # In UTF-8, as CouchDB expects, or the raw bytes of the environment.
        pair = b":".join(unquote_to_bytes(os.fsencode(part)) for part in (cloudant.user, cloudant.password))
        return FixedLogin(f"Basic {base64.b64encode(pair).decode()}")
    # Imported here: it takes longer than everything else, and CouchDB does not need it.
    from ibm_actions.identity import iam_login

    return iam_login(cloudant.profile or None, cloudant.api_key or None, cloudant.iam)
