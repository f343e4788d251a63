"""What all API calls share: authentication, permissions, and the form of lists and errors."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dt_cloud.accounts import PROJECTS, Account
from dt_cloud.cloud import Cloud
from dt_cloud.errors import ApiError
from dt_cloud.faults import TOO_MANY_REQUESTS

T = TypeVar("T")

MAX_BODY = 1_000_000
_PAGE = 100
# Objects whose keys the user chooses.
_FREE = ("labels", "addLabels", "headers")


class Call:
    """One authenticated request.

    Args:
        request: The HTTP request.
        cloud: The cloud that answers.
        account: The sender's account.
    """

    def __init__(self, request: Request, cloud: Cloud, account: Account) -> None:
        self.request = request
        self.cloud = cloud
        self.account = account

    def path(self, name: str) -> str:
        """Return a part of the path."""
        value: str = self.request.path_params[name]
        return value

    def require(self, permission: str) -> None:
        """Refuse an account without this permission.

        Raises:
            ApiError: 403.
        """
        if permission not in self.cloud.accounts.permissions(self.account):
            raise ApiError(403, f"permission denied: {self.account.role} has no {permission}")

    def projects(self, name: str = "project") -> tuple[str, ...]:
        """Return the projects in the path: one, or with ``-`` all that the account may see.

        Raises:
            ApiError: 403 or 404.
        """
        project = self.path(name)
        if project == "-":
            return self.account.projects
        if project not in PROJECTS:
            raise ApiError(404, "resource not found: no such project")
        if project not in self.account.projects:
            raise ApiError(403, "permission denied: the account is not a member of this project")
        return (project,)

    def query(self, name: str) -> str | None:
        """Return a query parameter, in DT's spelling or in snake case; None if absent."""
        values = self.query_list(name)
        return values[-1] if values else None

    def query_list(self, name: str) -> list[str]:
        """Return all values of a query parameter, in either spelling, without empty ones."""
        found = self.request.query_params
        spellings = {name, re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)}
        return [value for spelling in spellings for value in found.getlist(spelling) if value]

    async def body(self) -> dict[str, Any]:
        """Return the JSON object of the body, whatever its Content-Type; curl sends that of a form.

        Raises:
            ApiError: 400.
        """
        text = await self.request.body()
        if len(text) > MAX_BODY:
            raise ApiError(400, "invalid argument: the body is too large")
        try:
            document = _camel(parse_object(text))
        except RecursionError:
            raise ApiError(400, "invalid argument: the body is too deep") from None
        assert isinstance(document, dict)
        return document

    def page(
        self,
        key: str,
        items: Sequence[T],
        show: Callable[[T], Any],
        name: Callable[[T], Any] = str,
        maximum: int = _PAGE,
    ) -> dict[str, Any]:
        """Return one page of a list, with ``nextPageToken``, ``""`` on the last page.

        Args:
            key: The name of the list.
            items: All of it.
            show: Returns an item as the client gets it.
            name: Returns what identifies an item. The token has that of the last one, so that an item that is added or
                deleted between two pages neither repeats nor hides others.
            maximum: The longest page.

        Raises:
            ApiError: 400.
        """
        try:
            size = int(self.query("pageSize") or _PAGE)
            number, _, last = base64.urlsafe_b64decode(self.query("pageToken") or "MDo=").decode().partition(":")
            start = int(number)
        except ValueError:
            raise ApiError(400, "invalid argument: pageSize or pageToken") from None
        if size < 0 or start < 0:
            raise ApiError(400, "invalid argument: pageSize or pageToken")
        if start:
            # If the last one was deleted, the others moved up by one.
            start = next((index for index, item in enumerate(items, 1) if str(name(item)) == last), start - 1)
        end = start + (min(size, maximum) or _PAGE)
        token = f"{end}:{name(items[end - 1])}" if end < len(items) else ""
        return {
            key: [show(item) for item in items[start:end]],
            "nextPageToken": base64.urlsafe_b64encode(token.encode()).decode(),
        }


Handler = Callable[[Call], Awaitable[Any]]


def route(cloud: Cloud, method: str, path: str, permission: str | None, handle: Handler) -> Route:
    """Return the route of one call.

    Args:
        cloud: The cloud that answers.
        method: The HTTP method.
        path: Below ``/v2``.
        permission: The permission that the account needs; None for none.
        handle: Returns the answer, or its JSON content.
    """

    async def endpoint(request: Request) -> Response:
        account = authenticate(request, cloud)
        cloud.limit.take(account)
        if cloud.faults.take(TOO_MANY_REQUESTS):
            raise ApiError(429, "too many requests: the fault was requested", headers={"Retry-After": "1"})
        call = Call(request, cloud, account)
        if permission:
            call.require(permission)
        found = await handle(call)
        return found if isinstance(found, Response) else JSONResponse(found)

    return Route(f"/v2{path}", endpoint, methods=[method])


def authenticate(request: Request, cloud: Cloud) -> Account:
    """Return the account of a request.

    Raises:
        ApiError: 401.
    """
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            credentials = base64.b64decode(credentials, validate=True).decode()
        except ValueError:
            credentials = ""
    return cloud.accounts.authenticate(scheme.lower(), credentials.strip())


def parse_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; for an empty body an empty object.

    Raises:
        ApiError: 400, the body is not a JSON object, or cannot be written as JSON in UTF-8.
    """
    try:
        document = json.loads(text or b"{}")
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid argument: the body is not JSON") from None
    if not isinstance(document, dict):
        raise ApiError(400, "invalid argument: the body is not a JSON object")
    return document


async def show_error(_request: Request, error: Exception) -> Response:
    """Answer an `ApiError`."""
    assert isinstance(error, ApiError)
    return JSONResponse(error.document, error.status, error.headers)


def _camel(value: Any) -> Any:
    """Return JSON with names in DT's spelling: DT's gateway also accepts snake case."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {_camel_name(name): each if name in _FREE else _camel(each) for name, each in value.items()}


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest) if first else name
