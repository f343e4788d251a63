"""``make cloud``: DT Cloud on your desk."""

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import uvicorn

from dt_cloud import CloudError
from dt_cloud.accounts import FIRST_PROJECT, ORGANIZATION
from dt_cloud.app import build_app
from dt_cloud.choices import Choices
from dt_cloud.cloud import Cloud, Pace
from dt_cloud.desk import Desk
from dt_cloud.watch import Watch

DATABASE = Path("var/cloud.db")
PORT = 8010

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    port: Annotated[
        int, typer.Option(envvar="DT_CLOUD_PORT", min=1, max=65_535, help="Where it listens, on 127.0.0.1.")
    ] = PORT,
    database: Annotated[
        Path, typer.Option(envvar="DT_CLOUD_DATABASE", metavar="FILE", help="Everything it knows.")
    ] = DATABASE,
    speed: Annotated[
        str, typer.Option(metavar="N|auto", help="How fast its time runs; auto: as fast as deliveries keep up.")
    ] = "1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Let connectors send to this host, too; repeat it for several."),
    ] = None,
    signs: Annotated[
        str, typer.Option(help="Sign each attempt anew, or once: each, once.", rich_help_panel="Choices")
    ] = "each",
    success: Annotated[str, typer.Option(help="What acknowledges: 2xx, 200.", rich_help_panel="Choices")] = "2xx",
    creators: Annotated[
        str, typer.Option(help="Who may create connectors: developer, admin.", rich_help_panel="Choices")
    ] = "developer",
    default_label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="A label that new connectors send.", rich_help_panel="Choices"),
    ] = None,
    backoff: Annotated[str, typer.Option(help="formula, table.", rich_help_panel="Choices")] = "formula",
    hidden_for: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="A new connector is 404 for so long.", rich_help_panel="Choices"),
    ] = 0.0,
    max_connectors: Annotated[int, typer.Option(min=1, help="In a project.", rich_help_panel="Choices")] = 10,
) -> None:
    """Run DT Cloud on this machine: its API, its emulator, and Data Connectors that deliver with DT's retries.

    \b
    Examples:
      make cloud
      make cloud ARGS="--speed 3600"
      DT_CLOUD_PORT=9000 make cloud
    """  # noqa: D301
    for name, value, allowed in (
        ("--signs", signs, ("each", "once")),
        ("--success", success, ("2xx", "200")),
        ("--creators", creators, ("developer", "admin")),
        ("--backoff", backoff, ("formula", "table")),
    ):
        if value not in allowed:
            raise typer.BadParameter(f"It is one of {', '.join(allowed)}.", param_hint=name)
    choices = Choices(
        **cast("dict[str, Any]", {"signs": signs, "success": success, "creators": creators, "backoff": backoff}),
        default_labels=tuple(default_label or ()),
        hidden_for=hidden_for,
        max_connectors=max_connectors,
    )
    listening = bind(port)
    try:
        cloud = Cloud(
            database,
            f"http://127.0.0.1:{port}",
            choices=choices,
            allowed_hosts=allow_host or (),
            speed=_speed(speed),
        )
    except CloudError as error:
        sys.exit(str(error))
    pace = Pace(cloud, is_auto=speed == "auto")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        build_app(cloud, *Desk(Watch(cloud, pace)).routes()),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(_Server(config, cloud), listening, pace))


class _Server(uvicorn.Server):
    """Ends the streams when it is told to stop; they would not end by themselves."""

    def __init__(self, config: uvicorn.Config, cloud: Cloud) -> None:
        super().__init__(config)
        self._cloud = cloud

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, and then all else."""
        self._cloud.publisher.close()
        await super().shutdown(sockets)


async def _serve(server: uvicorn.Server, listening: socket.socket, pace: Pace) -> None:
    pacing = asyncio.create_task(pace.run())
    print(welcome(pace.cloud), flush=True)
    await server.serve([listening])
    pacing.cancel()


def bind(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1, or end with a sentence."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except OSError as error:
        sys.exit(f"Port {port} cannot be used: {error.strerror}. Set DT_CLOUD_PORT to another one.")
    return listening


def exports(cloud: Cloud) -> dict[str, str]:
    """Return the environment of clients and receivers, by the names that DT's own clients read."""
    account = next(each for each in cloud.accounts.all if each.role == "project.developer")
    return {
        # DT's Terraform provider; it appends /v2 itself.
        "DT_API_URL": cloud.base_url,
        "DT_EMULATOR_URL": cloud.base_url,
        "DT_OIDC_TOKEN_ENDPOINT": f"{cloud.base_url}/oauth2/token",
        "DT_API_KEY_ID": account.key_id,
        "DT_API_KEY_SECRET": account.secret,
        "DT_OIDC_EMAIL": account.email,
        # DT's Python client.
        "DT_SERVICE_ACCOUNT_KEY_ID": account.key_id,
        "DT_SERVICE_ACCOUNT_SECRET": account.secret,
        "DT_SERVICE_ACCOUNT_EMAIL": account.email,
        # A receiver that verifies DT-Asymmetric-Signature.
        "DT_ORGANIZATION_ID": ORGANIZATION,
        "DT_ISSUER": cloud.issuer,
        # Not DT_PROJECT_ID, which is the receiver's filter.
        "DT_CLOUD_PROJECT": FIRST_PROJECT,
    }


def welcome(cloud: Cloud) -> str:
    """Return what a person needs to begin."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports(cloud).items()]
    return "\n".join(
        [
            f"# DT Cloud on your desk: {cloud.base_url} - paste this into another terminal:",
            *lines,
            "# DT's Python client has no variables for its addresses:",
            "#   import disruptive as dt",
            f'#   dt.base_url = dt.emulator_base_url = "{cloud.base_url}/v2"',
            f'#   dt.default_auth.token_endpoint = "{cloud.base_url}/oauth2/token"',
        ]
    )


def _speed(text: str) -> float:
    try:
        speed = 1.0 if text == "auto" else float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 100_000:
        raise typer.BadParameter("It is a number above 0, such as 3600, or auto.", param_hint="--speed")
    return speed


if __name__ == "__main__":
    os.umask(0o077)
    app(prog_name="python -m dt_cloud")
