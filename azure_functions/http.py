"""Between Azure's two shapes of an HTTP exchange and the core's."""

from azure.functions import HttpRequest, HttpResponse

from core.http import Request, Response


def to_request(request: HttpRequest) -> Request:
    """Return the request that the worker has, its body as it came.

    A repeated header comes joined by commas, which no token holds, so that two are refused as one that is malformed.
    """
    # Not urlsplit, which raises where a host is none.
    path = request.url.partition("?")[0].partition("//")[2].partition("/")[2]
    return Request(request.method, f"/{path}", list(request.headers.items()), request.get_body())


def to_response(response: Response) -> HttpResponse:
    """Return ``response`` as the worker takes it. Of a str or a dict, the host would make an answer of its own."""
    return HttpResponse(response.body, status_code=response.status, headers=dict(response.headers))
