"""Between Flask, which functions-framework is made of, and the core's two shapes."""

import io
from typing import IO, TYPE_CHECKING

from core.http import DisconnectedError, Request, Response, TooLargeError
from core.receiver import MAX_BODY

if TYPE_CHECKING:
    # Not imported to run: the framework has it, and what is returned is a tuple.
    import flask

Answer = tuple[bytes, int, list[tuple[str, str]]]


def to_request(request: "flask.Request") -> Request:
    """Return the request that Flask has, its body before anything is made of it.

    A repeated header comes joined by commas, which no token holds, so that two are refused as one that is malformed.

    Raises:
        DisconnectedError, TooLargeError: The body is not here.
    """
    # Of a body that says so at its head nothing is read; of one in chunks no more than this.
    request.max_content_length = MAX_BODY + 1
    try:
        body = request.get_data(cache=False)
        # gunicorn ends a body that breaks off as if it were whole.
        if len(body) < (request.content_length or 0):
            raise DisconnectedError
        if len(body) > MAX_BODY:
            _discard(request.input_stream)
    except Exception as error:  # werkzeug's, gunicorn's and the socket's own
        raise (TooLargeError if getattr(error, "code", None) == 413 else DisconnectedError) from None
    finally:
        # functions-framework reads on after the answer, and an error there would take the answer's place.
        request.stream = io.BytesIO()
    return Request(request.method, request.path, list(request.headers.items()), body)


def _discard(source: IO[bytes]) -> None:
    """Read on, within reason: a client that still sends when its connection is closed does not see the answer."""
    for _ in range(64):
        if not source.read(65_536):
            return


def to_response(response: Response) -> Answer:
    """Return ``response`` as a view of Flask's may: body, status, headers."""
    return response.body, response.status, list(response.headers)
