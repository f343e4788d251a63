"""Log lines with the trace of their request, by which Cloud Logging groups them."""

import re
from collections.abc import Mapping
from contextvars import ContextVar

from core.log import Log

# https://cloud.google.com/trace/docs/trace-context: the trace id, a slash, and unused fields.
_TRACE = re.compile("[0-9a-f]{32}(?=/|$)").match
_PROJECT = re.compile("projects/([^/]+)/").match
_trace: ContextVar[str] = ContextVar("trace", default="")


def build_log(environ: Mapping[str, str]) -> Log:
    """Return a log with traces, if a store's variable names the project."""
    found = _PROJECT(environ.get("DT_TOPIC") or environ.get("DT_FIRESTORE") or "")
    if not found:
        return Log()
    prefix = f"projects/{found[1]}/traces/"

    def extra_fields(_outcome: str) -> str:
        trace = _trace.get()
        return f',"logging.googleapis.com/trace":"{prefix}{trace}"' if trace else ""

    return Log(extra_fields=extra_fields)


def set_trace(context: str) -> None:
    """Set the current request's trace from its header ``X-Cloud-Trace-Context``."""
    found = _TRACE(context)
    _trace.set(found[0] if found else "")
