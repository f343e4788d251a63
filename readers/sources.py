"""Opens the reader of a source: a URL whose scheme names the store."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

from core.spelling import likeliest
from readers import ReaderError
from readers.contract import Reader


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of store.

    Attributes:
        module: The module of `readers` that has ``open_reader(url)``.
        example: An example of its URL.
        extra: The extra that installs its library; None if dtconn always has it.
    """

    module: str
    example: str
    extra: str | None = None


SOURCES = {
    "sqlite": Source("sqlite", "sqlite:var/events.db"),
    "postgres": Source("postgres", "postgres://user:password@host:5432/name"),
    "dynamodb": Source("dynamodb", "dynamodb:dt-receiver-events", "aws"),
    "sqs": Source("sqs", "sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/dt-receiver-events", "aws"),
    "firestore": Source("firestore", "firestore:projects/PROJECT/databases/DATABASE", "gcp"),
    "pubsub": Source("pubsub", "pubsub:projects/PROJECT/subscriptions/SUBSCRIPTION", "gcp"),
    "bigquery": Source("bigquery", "bigquery:PROJECT.DATASET.TABLE", "gcp"),
    "azure-table": Source("azure_table", "azure-table:https://ACCOUNT.table.core.windows.net/TABLE", "azure"),
    "storage-queue": Source("storage_queue", "storage-queue:https://ACCOUNT.queue.core.windows.net/QUEUE", "azure"),
    "servicebus": Source("service_bus", "servicebus:NAMESPACE.servicebus.windows.net/QUEUE", "azure"),
    "cloudant": Source("cloudant", "cloudant:https://HOST/NAME", "ibm"),
}
_SCHEME = re.compile("([A-Za-z][A-Za-z0-9+-]+):").match
_ALIASES = {"postgresql": "postgres"}


def scheme_of(url: str) -> str | None:
    """Return the store that a URL names, a key of `SOURCES`; None if it is not a source."""
    scheme = url.strip().strip("\"'").partition(":")[0].partition("+")[0].lower()
    scheme = _ALIASES.get(scheme, scheme)
    return scheme if scheme in SOURCES and ":" in url else None


def open_reader(url: str) -> Reader:
    """Return the reader of a source.

    Args:
        url: As in `Source.example`, or the path of an SQLite file.

    Raises:
        ReaderError: The scheme is unknown, a library is missing, or the URL is invalid.
    """
    scheme = scheme_of(url)
    if scheme is None:
        if not is_path(url):
            meant = likeliest(_scheme_in(url), SOURCES)
            # Not quoted: it may contain a password.
            raise ReaderError(
                f"This is not the URL of a store. Its scheme must be one of: {', '.join(SOURCES)}."
                + (f" Do you mean {meant}:?" if meant else "")
            )
        scheme, url = "sqlite", f"sqlite:{url}"
    source = SOURCES[scheme]
    try:
        module = importlib.import_module(f"readers.{source.module}")
    except ModuleNotFoundError as error:
        if source.extra is None or (error.name or "").startswith("readers"):
            raise
        raise ReaderError(
            f"{scheme} needs a library that is not installed. In a clone of the repository: make readers, or for this "
            f"store alone: pip install '.[{source.extra}]'"
        ) from None
    reader: Reader = module.open_reader(url)
    reader.url = identity(url)
    return reader


def is_path(text: str) -> bool:
    """Return whether a text that is not a source is the path of a file, and not a URL with a misspelt scheme."""
    return "://" not in text and not _scheme_in(text)


def _scheme_in(text: str) -> str:
    """Return what may be a scheme; one letter is a drive of Windows."""
    found = _SCHEME(text.strip().strip("\"'"))
    return found[1] if found else ""


def identity(url: str) -> str:
    """Return a URL without user, password and options, and with the whole path of a file."""
    scheme = scheme_of(url)
    rest = url.strip().strip("\"'").partition(":")[2] if scheme else url
    if scheme in (None, "sqlite"):
        return f"sqlite:{Path(rest).resolve()}"
    begin, slashes, address = rest.rpartition("//")
    authority, slash, path = address.partition("/")
    return f"{scheme}:{begin}{slashes}{authority.rpartition('@')[2]}{slash}{path}".partition("?")[0].rstrip("/")
