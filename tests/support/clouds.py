"""DT Cloud on your desk within a test's event loop, for tests that inspect its state."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from dt_cloud.app import build_app
from dt_cloud.cloud import Cloud
from server.asgi import App
from server.serve import UVICORN


@asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[None]:
    """Serve an ASGI application, or a receiver's, on 127.0.0.1."""
    options: dict[str, Any] = UVICORN if isinstance(app, App) else {"log_level": "warning", "lifespan": "on"}
    server = uvicorn.Server(uvicorn.Config(app, port=port, **options))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def served_cloud(folder: Path, port: int, **options: Any) -> AsyncIterator[Cloud]:
    """Yield an open cloud whose keys can be fetched."""
    cloud = Cloud(folder / "cloud.db", f"http://127.0.0.1:{port}", **options)
    async with serving(build_app(cloud, cloud.ledger), port):
        yield cloud


@asynccontextmanager
async def twin(original: Cloud, folder: Path, **options: Any) -> AsyncIterator[Cloud]:
    """Yield another cloud, with a separate clock. It signs as ``original`` does, which is one folder up."""
    folder.mkdir()
    source = folder.parent / "cloud-es256-key.pem"
    shutil.copy(source, folder / source.name)
    cloud = Cloud(folder / "cloud.db", original.base_url, **options)
    await cloud.open()
    try:
        yield cloud
    finally:
        await cloud.close()
