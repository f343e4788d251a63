"""Converts Flask's request to the core's `Request`, and the core's `Response` to Flask's."""

import io
from typing import IO, TYPE_CHECKING

from core.http import DisconnectedError, Request, Response, TooLargeError
from core.receiver import MAX_BODY

if TYPE_CHECKING:
    # Imported only for types: functions-framework provides Flask, and the result is a tuple.
    import flask

Answer = tuple[bytes, int, list[tuple[str, str]]]


def to_request(request: "flask.Request") -> Request:
    """Return Flask's request, with its unparsed body.

    Flask joins repeated headers by commas, which no token contains, so two tokens are refused as malformed.

    Raises:
        DisconnectedError, TooLargeError: The body is not available.
    """
    # With a larger Content-Length nothing is read; of a chunked body, at most this much.
    request.max_content_length = MAX_BODY + 1
    try:
        body = request.get_data(cache=False)
        # gunicorn does not report an incomplete body.
        if len(body) < (request.content_length or 0):
            raise DisconnectedError
        if len(body) > MAX_BODY:
            _discard(request.input_stream)
    except Exception as error:  # errors of werkzeug, gunicorn and the socket
        raise (TooLargeError if getattr(error, "code", None) == 413 else DisconnectedError) from None
    finally:
        # functions-framework reads on after the answer, and an error then would replace the answer.
        request.stream = io.BytesIO()
    return Request(request.method, request.path, list(request.headers.items()), body)


def _discard(source: IO[bytes]) -> None:
    """Read on, up to a limit: if the connection closes while the client sends, it loses the answer."""
    for _ in range(64):
        if not source.read(65_536):
            return


def to_response(response: Response) -> Answer:
    """Return ``response`` for Flask: body, status, headers."""
    return response.body, response.status, list(response.headers)
