"""The log of an Azure Functions worker: the host receives Python's logging, with its level."""

import logging
import sys
from collections.abc import Mapping

from core.log import Log, Severity

# Must not start with a prefix the worker filters: lines of proxy_worker, azure_functions_runtime and azure.functions
# never reach Application Insights.
_write = logging.getLogger("receiver").log
_LEVELS: dict[Severity, int] = {"INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


def build_log(_environ: Mapping[str, str]) -> Log:
    """Return a log that writes through logging, so that Application Insights adds the request's id.

    Notices go to standard error, because the host drops logging outside a request. It reads their level from the words
    of the line, which has a `severity`: https://github.com/Azure/azure-functions-host
    (WorkerProcess.cs).
    """
    return Log(sys.stderr, write=_write_request)


def _write_request(severity: Severity, line: str) -> None:
    # A failing handler, including the worker's, must not fail a stored event.
    try:
        _write(_LEVELS[severity], line)
    except Exception:
        pass
