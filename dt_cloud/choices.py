"""Options for what DT's documents do not say, or contradict each other about; docs/dt-cloud.md has the sources."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Behaviour that only DT knows.

    Attributes:
        signs: Whether each attempt is signed again (``each``), or repeats the first signature (``once``).
        success: Which answers acknowledge: ``2xx``, or only ``200``.
        creators: Who may create a connector: ``developer`` and higher, or ``admin``.
        default_labels: The labels of a connector that is created without any.
        backoff: ``formula``, 8 s x 2^(n-1) up to 1 h; or ``table``, which has 1,024 s for the sixth failure.
        hidden_for: Seconds, in real time, for which a new connector is answered 404.
        max_connectors: The maximum number of connectors per project.
        requests_per_second: How many requests of an account are allowed, in bursts of five times as many.
    """

    signs: Literal["each", "once"] = "each"
    success: Literal["2xx", "200"] = "2xx"
    creators: Literal["developer", "admin"] = "developer"
    default_labels: tuple[str, ...] = field(default=())
    backoff: Literal["formula", "table"] = "formula"
    hidden_for: float = 0.0
    max_connectors: int = 10
    requests_per_second: float = 5.0

    def is_success(self, status: int | None) -> bool:
        """Return whether a status acknowledges the event; None means no answer."""
        return status is not None and (status == 200 if self.success == "200" else 200 <= status < 300)

    def retry_after(self, failures: int, latency: float) -> float:
        """Return the delay before the next attempt, in seconds.

        Args:
            failures: The number of failed attempts, at least 1.
            latency: The duration of the last one, in seconds: the delay is at least four times that.
        """
        exponent = failures - 1
        if self.backoff == "table" and failures >= 6:
            exponent += 2
        return max(min(8.0 * 2.0 ** min(exponent, 16), 3600.0), 4 * latency)
