"""``make cloud``: DT Cloud on your desk."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from dt_cloud import CloudError
from dt_cloud.accounts import FIRST_PROJECT, ORGANIZATION
from dt_cloud.choices import Choices
from dt_cloud.cloud import Cloud
from dt_cloud.connectors import is_host
from dt_cloud.options import PORT, parse_speed
from dt_cloud.pace import Pace
from dt_cloud.sensors import Building
from dt_cloud.serve import Parts, bind, serve
from dt_cloud.stored import StoredCheck

DATABASE = Path("var/cloud.db")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    port: Annotated[
        int, typer.Option(envvar="DT_CLOUD_PORT", min=1, max=65_535, help="The port to listen on, on 127.0.0.1.")
    ] = PORT,
    database: Annotated[
        Path, typer.Option(envvar="DT_CLOUD_DATABASE", metavar="FILE", help="The database file of the cloud.")
    ] = DATABASE,
    speed: Annotated[
        str, typer.Option(metavar="N|auto", help="How fast time runs; auto: as fast as deliveries keep up.")
    ] = "1",
    sensors: Annotated[int, typer.Option(min=0, max=5000, help="How many simulated sensors to run.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same sensors and values.")] = 1,
    store: Annotated[
        Path | None,
        typer.Option(
            envvar="DT_CLOUD_STORE",
            metavar="FILE",
            help="The receiver's SQLite file, such as var/events.db: the ledger looks up each delivered event there.",
        ),
    ] = None,
    next_secret: Annotated[
        str,
        typer.Option(envvar="DT_CLOUD_NEXT_SECRET", metavar="TEXT", help="A second secret that the receiver accepts."),
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Let connectors send to this host, too; repeat it for several."),
    ] = None,
    signs: Annotated[
        str, typer.Option(help="Sign each attempt anew, or once: each, once.", rich_help_panel="Choices")
    ] = "each",
    success: Annotated[
        str, typer.Option(help="Which answers acknowledge: 2xx, 200.", rich_help_panel="Choices")
    ] = "2xx",
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
        typer.Option(
            min=0, metavar="SECONDS", help="How long a new connector is answered 404.", rich_help_panel="Choices"
        ),
    ] = 0.0,
    max_connectors: Annotated[int, typer.Option(min=1, help="Connectors per project.", rich_help_panel="Choices")] = 10,
    requests_per_second: Annotated[
        float, typer.Option(min=0.2, help="Requests of each account.", rich_help_panel="Choices")
    ] = 5.0,
) -> None:
    """Run DT Cloud on this machine: its API, its emulator, and Data Connectors that deliver with DT's retries.

    \b
    Examples:
      make cloud
      make cloud ARGS="--sensors 100 --speed 60"
      make cloud ARGS="--store var/events.db"
      DT_CLOUD_PORT=9000 make cloud
    """  # noqa: D301
    for name, value, allowed in (
        ("--signs", signs, ("each", "once")),
        ("--success", success, ("2xx", "200")),
        ("--creators", creators, ("developer", "admin")),
        ("--backoff", backoff, ("formula", "table")),
    ):
        if value not in allowed:
            raise typer.BadParameter(f"It must be one of {', '.join(allowed)}.", param_hint=name)
    choices = Choices(
        **cast("dict[str, Any]", {"signs": signs, "success": success, "creators": creators, "backoff": backoff}),
        default_labels=tuple(default_label or ()),
        hidden_for=hidden_for,
        max_connectors=max_connectors,
        requests_per_second=requests_per_second,
    )
    for host in allow_host or ():
        if not is_host(host):
            raise typer.BadParameter(
                "It must be a host alone, such as sensors.example.com: no https://, no port, no path.",
                param_hint="--allow-host",
            )
    wanted = parse_speed(speed)
    listening = bind(port)
    try:
        cloud = Cloud(
            database,
            f"http://127.0.0.1:{port}",
            choices=choices,
            allowed_hosts=allow_host or (),
            speed=wanted or 1.0,
        )
    except CloudError as error:
        sys.exit(f"{error} Set DT_CLOUD_DATABASE to another file; a missing one is created.")
    parts = Parts(
        pace=Pace(cloud, wanted),
        building=Building(cloud, sensors, seed) if sensors else None,
        stored=StoredCheck(cloud.database, cloud.clock, store) if store else None,
        next_secret=next_secret,
    )
    serve(cloud, listening, parts, lambda: print(welcome(cloud), flush=True))


def exports(cloud: Cloud) -> dict[str, str]:
    """Return the environment variables for DT's clients and for receivers."""
    account = cloud.accounts.creator
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
    """Return the text that is printed at the start."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports(cloud).items()]
    return "\n".join(
        [
            f"# DT Cloud on your desk: {cloud.base_url} - paste this into another terminal:",
            *lines,
            "# DT's Python client has no variables for its addresses:",
            "#   import disruptive as dt",
            f'#   dt.base_url = dt.emulator_base_url = "{cloud.base_url}/v2"',
            f'#   dt.default_auth.token_endpoint = "{cloud.base_url}/oauth2/token"',
            f"# The key above is of the role {cloud.accounts.creator.role}. The keys of all roles, for curl -u:",
            *(f"# {each.role:18} {each.key_id}:{each.secret}" for each in cloud.accounts.all),
        ]
    )


if __name__ == "__main__":
    os.umask(0o077)
    app(prog_name="python -m dt_cloud")
