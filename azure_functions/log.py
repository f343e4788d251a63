"""The log of a worker of Azure Functions: the host takes what Python's own logging is given, and its level."""

import logging
import sys
from collections.abc import Mapping

from core.log import Log, Severity

# To Azure's SDKs each call is worth several lines, and an error the words of the service, whatever it quotes.
for _name in ("azure.core", "azure.data", "azure.identity", "azure.servicebus", "azure.storage", "msal", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
# Must not start with a prefix the worker filters: lines of proxy_worker, azure_functions_runtime and azure.functions
# never reach Application Insights.
_write = logging.getLogger("receiver").log
_LEVELS: dict[Severity, int] = {"INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


def build_log(_environ: Mapping[str, str]) -> Log:
    """Return a log whose lines have their request's id in Application Insights, by way of logging.

    Notices go to standard error: of logging, the host drops what belongs to no request. It takes their level from the
    words in the line, and `severity` is one that it knows: https://github.com/Azure/azure-functions-host
    (WorkerProcess.cs).
    """
    return Log(sys.stderr, write=_write_request)


def _write_request(severity: Severity, line: str) -> None:
    # A handler that fails, the worker's included, must not refuse an event that is stored.
    try:
        _write(_LEVELS[severity], line)
    except Exception:
        pass
