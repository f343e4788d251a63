"""The cloud as an ASGI application."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dt_cloud.api import connectors, devices, identity, projects, stream
from dt_cloud.api.endpoint import show_error
from dt_cloud.cloud import Cloud
from dt_cloud.errors import ApiError


def build_app(
    cloud: Cloud,
    ledger: Callable[[], dict[str, Any]],
    *more: Route,
    beside: AbstractAsyncContextManager[None] | None = None,
) -> Starlette:
    """Return the application, which opens the cloud at startup and closes it at shutdown.

    Args:
        cloud: The cloud to serve.
        ledger: Returns the answer of ``/ledger``.
        more: Additional routes.
        beside: A context that is entered after the cloud is opened, and left before it is closed.
    """

    async def show_ledger(_request: Request) -> Response:
        return JSONResponse(ledger())

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await cloud.open()
        try:
            async with beside or contextlib.nullcontext():
                yield
        finally:
            await cloud.close()

    return Starlette(
        routes=[
            *identity.routes(cloud),
            *projects.routes(cloud),
            *stream.routes(cloud),
            *devices.routes(cloud),
            *connectors.routes(cloud),
            Route("/ledger", show_ledger),
            *more,
        ],
        exception_handlers={
            sqlite3.Error: _show_storage_error,
            ApiError: show_error,
            HTTPException: _show_http_error,
            Exception: _show_fault,
        },
        # Against DNS rebinding: a page on another host name must not read these answers.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])],
        lifespan=lifespan,
    )


async def _show_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return await show_error(request, ApiError(error.status_code, error.detail.lower(), headers=error.headers))


async def _show_fault(request: Request, _error: Exception) -> Response:
    # Its traceback is logged.
    return await show_error(request, ApiError(500, "internal error: see dt_cloud's terminal"))


async def _show_storage_error(request: Request, error: Exception) -> Response:
    return await show_error(request, ApiError(503, f"unavailable: the cloud's database cannot be written: {error}"))
