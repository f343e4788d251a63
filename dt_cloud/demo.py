"""``make demo``: the cloud with sensors, and the local receiver beside it."""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from dt_cloud import CloudError
from dt_cloud.accounts import ORGANIZATION, PROJECTS
from dt_cloud.cloud import Cloud
from dt_cloud.options import PORT, parse_speed
from dt_cloud.pace import Pace
from dt_cloud.receiver import Receiver
from dt_cloud.sensors import Building
from dt_cloud.serve import Parts, bind, serve
from dt_cloud.stored import StoredCheck

FOLDER = Path("var/demo")
_SECRETS = "demo secrets"

_WELCOME = """
The demo runs: {sensors} sensors, {speed} times as fast as real time, and the local receiver.

  {url}    everything at a glance; stop the receiver there, and see what happens
  {receiver}    what the receiver stored

Its log is {folder}/receiver.log. Stop with Ctrl-C. To begin anew, stop it, then delete {folder}.
`.venv/bin/dtconn cloud --help` says what the page's buttons do.
"""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    sensors: Annotated[int, typer.Option(min=0, max=5000, help="How many sensors.")] = 100,
    speed: Annotated[str, typer.Option(metavar="N|auto", help="How fast time runs.")] = "60",
    port: Annotated[
        int, typer.Option(envvar="DT_CLOUD_PORT", min=1, max=65_535, help="The page's port, on 127.0.0.1.")
    ] = PORT,
    receiver_port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65_535, help="The receiver's port.")] = 8000,
) -> None:
    """Run DT Cloud with sensors, and the local receiver beside it.

    \b
    Examples:
      make demo
      make demo ARGS="--sensors 1000 --speed 10"
    """  # noqa: D301
    wanted = parse_speed(speed)
    if port == receiver_port:
        sys.exit("The page and the receiver cannot have the same port: set DT_CLOUD_PORT or PORT to another one.")
    # The receiver's port is released again: this only reports if it is in use.
    bind(receiver_port, "PORT").close()
    listening = bind(port)
    url, store = f"http://127.0.0.1:{receiver_port}", FOLDER / "events.db"
    try:
        cloud = Cloud(FOLDER / "cloud.db", f"http://127.0.0.1:{port}", speed=wanted or 1.0)
    except CloudError as error:
        sys.exit(f"{error} The demo's files are in {FOLDER}; move them away, and new ones are created.")
    secret, next_secret = _secrets(cloud)
    _connect(cloud, url, secret)
    environ = {
        "PORT": str(receiver_port),
        "DT_DATABASE": str(store),
        "DT_SIGNATURE_SECRET": json.dumps([secret, next_secret]),
        "DT_ORGANIZATION_ID": ORGANIZATION,
        "DT_ISSUER": cloud.issuer,
        "DT_SIGNATURE_POLICY": "both",
    }
    parts = Parts(
        pace=Pace(cloud, wanted),
        building=Building(cloud, sensors),
        stored=StoredCheck(cloud.database, cloud.clock, store),
        receiver=Receiver(environ, url, FOLDER / "receiver.log"),
        next_secret=next_secret,
    )
    welcome = _WELCOME.format(sensors=sensors, speed=speed, url=cloud.base_url, receiver=url, folder=FOLDER)
    serve(cloud, listening, parts, lambda: print(welcome, flush=True))


def _secrets(cloud: Cloud) -> tuple[str, str]:
    kept = cloud.database.meta(_SECRETS)
    if kept is None:
        kept = json.dumps([secrets.token_urlsafe(32), secrets.token_urlsafe(32)])
        cloud.database.set_meta(_SECRETS, kept)
    first, second = json.loads(kept)
    return first, second


def _connect(cloud: Cloud, url: str, secret: str) -> None:
    """Create or update a connector to the receiver in each project."""
    for project, name in PROJECTS.items():
        given = {"type": "HTTP_PUSH", "displayName": name, "labels": ["name"]}
        config = {"url": url, "signatureSecret": secret}
        ours = [each for each in cloud.connectors.of([project]) if each.display_name == name]
        if ours:
            # The receiver may be on another port than before.
            cloud.update(ours[0], {"httpConfig": config}, None)
        else:
            cloud.connectors.create(project, {**given, "httpConfig": config}, cloud.clock.now())


if __name__ == "__main__":
    os.umask(0o077)
    app(prog_name="make demo")
