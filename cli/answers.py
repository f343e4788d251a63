"""What the answer to a delivery means: the receiver's own, or that of the platform in front of it."""

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dt_cloud.sender import Answer

# As `core.http.problem` names them.
_OURS = "urn:problem-type:data-connector:"
_UNVERIFIED = f"{_OURS}unverified"


class Kind(Enum):
    """Who answered, and what."""

    STORED = "stored"
    UNVERIFIED = "unverified"
    # Another answer of the receiver: its store is down, or its settings are wrong.
    FAULT = "fault"
    # A 2xx that is not the receiver's: DT would take it for an acknowledgement.
    FOREIGN_SUCCESS = "foreign success"
    # 401, 403 or 404 of the platform: the function is not public, or not there.
    PLATFORM = "platform"
    OTHER = "other"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An endpoint's answer.

    Attributes:
        kind: What it means.
        status: The HTTP status; None without an answer.
        text: What it means, as a sentence that says what to do if it is a fault.
        seconds: How long it took.
        date: The Date header; empty without one.
    """

    kind: Kind
    status: int | None
    text: str
    seconds: float
    date: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether the receiver acknowledged the delivery."""
        return self.kind is Kind.STORED

    @property
    def is_receiver(self) -> bool:
        """Whether the receiver itself answered."""
        return self.kind in (Kind.STORED, Kind.UNVERIFIED, Kind.FAULT)


def understood(answer: "Answer") -> Said:
    """Return what an answer means."""
    kind, text = _meaning(answer)
    return Said(
        kind=kind,
        status=answer.status,
        text=text,
        seconds=answer.seconds,
        date=answer.headers.get("date", ""),
    )


def _meaning(answer: "Answer") -> tuple[Kind, str]:
    status = answer.status
    if status is None:
        return Kind.SILENT, f"It cannot be reached from here ({answer.reason}). Check the URL, its certificate and DNS."
    if "event-outcome" in answer.headers and status == 200:
        return Kind.STORED, "The receiver accepts the signature."
    if 200 <= status < 300:
        text = f"Something other than the receiver answers {status}, which DT takes for stored. Check the URL's path."
        return Kind.FOREIGN_SUCCESS, text
    problem = _problem(answer.body)
    if problem == _UNVERIFIED:
        text = "The receiver does not accept the signature: it has another secret, or another DT_SIGNATURE_POLICY."
        return Kind.UNVERIFIED, text
    if problem:
        return Kind.FAULT, f"The receiver answers {status}: its log says why."
    if status in (401, 403):
        text = (
            f"The platform answers {status}, not the receiver: the function is not public, or wants a key that the "
            "connector does not send. Allow unauthenticated requests, or add the key to the URL or --header."
        )
        return Kind.PLATFORM, text
    if status == 404:
        return Kind.PLATFORM, "The platform answers 404: there is no function at this URL. Check its path."
    if status == 429:
        return Kind.PLATFORM, "The platform answers 429: too many requests at once. Try again."
    return Kind.OTHER, f"Something other than the receiver answers {status}. Check the URL, and the platform's own log."


def _problem(body: bytes) -> str | None:
    """Return the type of the receiver's own problem document."""
    try:
        found = json.loads(body)["type"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and found.startswith(_OURS) else None
