"""Converts Azure's request to the core's `Request`, and the core's `Response` to Azure's."""

from azure.functions import HttpRequest, HttpResponse

from core.http import Request, Response


def to_request(request: HttpRequest) -> Request:
    """Return the worker's request, with its unchanged body.

    The host joins repeated headers by commas, which no token contains, so two tokens are refused as malformed.
    """
    # Not urlsplit, which raises for an invalid host.
    path = request.url.partition("?")[0].partition("//")[2].partition("/")[2]
    return Request(request.method, f"/{path}", list(request.headers.items()), request.get_body())


def to_response(response: Response) -> HttpResponse:
    """Return ``response`` for the worker. From a str or a dict, the host would build its own answer."""
    return HttpResponse(response.body, status_code=response.status, headers=dict(response.headers))
