"""CloudWatch metrics embedded in log lines: no call, no agent, and nothing to send when the sandbox freezes.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import time
from collections.abc import Callable, Mapping

from core.log import Log

NAMESPACE = "DataConnector"
# By outcome. Each has the dimension FunctionName; Refused also FunctionName with the line's own ``reason``.
METRICS = {
    "stored": "Stored",
    "duplicate": "Duplicate",
    "dropped": "Dropped",
    "refused": "Refused",
    "failed": "Failed",
}


def build_log(environ: Mapping[str, str]) -> Log:
    """Return a log whose lines CloudWatch counts."""
    return Log(extra_fields=embedded_metrics(environ.get("AWS_LAMBDA_FUNCTION_NAME", "")))


def embedded_metrics(function: str, clock: Callable[[], float] = time.time) -> Callable[[str], str]:
    """Return the ``extra_fields`` for `core.log.Log`: a count of 1 in the metric of the request's outcome.

    Args:
        function: The function's name.
        clock: Seconds since the epoch.
    """
    starts = {outcome: _start(metric, function) for outcome, metric in METRICS.items()}

    def extra_fields(outcome: str) -> str:
        start = starts.get(outcome)
        return f"{start}{int(clock() * 1000)}}}" if start else ""

    return extra_fields


def _start(metric: str, function: str) -> str:
    """Return the constant fields; only the time differs between requests."""
    dimensions = [["FunctionName"], ["FunctionName", "reason"]] if metric == "Refused" else [["FunctionName"]]
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": dimensions,
        "Metrics": [{"Name": metric, "Unit": "Count"}],
    }
    text = json.dumps(
        {"FunctionName": function, metric: 1, "_aws": {"CloudWatchMetrics": [directive], "Timestamp": 0}},
        separators=(",", ":"),
    )
    return "," + text.removeprefix("{").removesuffix("0}}")
