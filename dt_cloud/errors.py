"""Errors in DT's form: https://docs.d21s.com/error/."""

from collections.abc import Mapping


class ApiError(Exception):
    """A refused request.

    Attributes:
        status: The HTTP status code.
        reason: A sentence for the client.
        headers: The headers of the answer.
    """

    def __init__(self, status: int, reason: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})

    @property
    def document(self) -> dict[str, object]:
        """Return the answer's body."""
        return {"error": self.reason, "code": self.status, "help": f"https://docs.d21s.com/error/#{self.status}"}
