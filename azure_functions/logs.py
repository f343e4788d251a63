"""The log of a worker of Azure Functions: the host takes what Python's own logging is given, and its level."""

import logging
import sys

from core.log import Log, Severity

# To Azure's SDKs each call is worth several lines, and an error the words of the service, whatever it quotes.
for _name in ("azure.core", "azure.data", "azure.identity", "azure.servicebus", "azure.storage", "msal", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
# A name that begins as none of the worker's own: lines of proxy_worker, azure_functions_runtime and azure.functions
# never reach Application Insights.
_write = logging.getLogger("receiver").log
_LEVELS: dict[Severity, int] = {"INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


class WorkerLog(Log):
    """Writes lines by way of logging, so that they have their request's id in Application Insights."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Log(sys.stderr)

    def notice(self, severity: Severity, message: str) -> None:
        """Write to standard error: of logging, the host drops what belongs to no request.

        The host takes its level from the words in the line, and `severity` is one that it knows:
        https://github.com/Azure/azure-functions-host (WorkerProcess.cs).
        """
        self._console.notice(severity, message)

    def _write(self, severity: Severity, line: str) -> None:
        # A handler that fails, be it the worker's, must not refuse an event that is stored.
        try:
            _write(_LEVELS[severity], line)
        except Exception:
            pass
