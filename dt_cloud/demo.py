"""``make demo``: the cloud with sensors and the local receiver side by side, and one address to open."""

import argparse
import json
import os
import secrets
import sys
from pathlib import Path

from dt_cloud import CloudError
from dt_cloud.accounts import ORGANIZATION, PROJECTS
from dt_cloud.cloud import Cloud, Pace
from dt_cloud.receiver import Receiver
from dt_cloud.sensors import Building
from dt_cloud.serve import Parts, bind, serve
from dt_cloud.stored import StoredCheck

FOLDER = Path("var/demo")
_SECRETS = "demo secrets"

_WELCOME = """
The demo runs: {sensors} sensors, {speed:g} times as fast as real time, and the local receiver.

  {url}    everything at a glance; stop the receiver there, and see what happens
  {receiver}    what the receiver stored

Its log is {folder}/receiver.log. Stop with Ctrl-C. Delete {folder} to begin anew.
"""


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="DT Cloud with sensors, and the local receiver beside it.",
        epilog='examples:\n  make demo\n  make demo ARGS="--sensors 1000 --speed 10"\n',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sensors", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--speed", type=float, default=60.0, help="how fast time runs (default: 60)")
    parser.add_argument("--port", type=int, default=int(os.environ.get("DT_CLOUD_PORT") or 8010), help="the page's")
    parser.add_argument("--receiver-port", type=int, default=int(os.environ.get("PORT") or 8000), help="the receiver's")
    given = parser.parse_args()
    # The receiver's is let go again: what matters is the sentence, if somebody else has it.
    bind(given.receiver_port).close()
    listening = bind(given.port)
    url, store = f"http://127.0.0.1:{given.receiver_port}", FOLDER / "events.db"
    try:
        cloud = Cloud(FOLDER / "cloud.db", f"http://127.0.0.1:{given.port}", speed=given.speed)
    except CloudError as error:
        sys.exit(str(error))
    secret, next_secret = _secrets(cloud)
    _connect(cloud, url, secret)
    environ = {
        "PORT": str(given.receiver_port),
        "DT_DATABASE": str(store),
        "DT_SIGNATURE_SECRET": json.dumps([secret, next_secret]),
        "DT_ORGANIZATION_ID": ORGANIZATION,
        "DT_ISSUER": cloud.issuer,
        "DT_SIGNATURE_POLICY": "both",
    }
    parts = Parts(
        pace=Pace(cloud, given.speed),
        building=Building(cloud, given.sensors),
        stored=StoredCheck(cloud.database, cloud.clock, store),
        receiver=Receiver(environ, url, FOLDER / "receiver.log"),
        next_secret=next_secret,
    )
    welcome = _WELCOME.format(sensors=given.sensors, speed=given.speed, url=cloud.base_url, receiver=url, folder=FOLDER)
    serve(cloud, listening, parts, lambda: print(welcome, flush=True))


def _secrets(cloud: Cloud) -> tuple[str, str]:
    kept = cloud.database.meta(_SECRETS)
    if kept is None:
        kept = json.dumps([secrets.token_urlsafe(32), secrets.token_urlsafe(32)])
        cloud.database.set_meta(_SECRETS, kept)
    first, second = json.loads(kept)
    return first, second


def _connect(cloud: Cloud, url: str, secret: str) -> None:
    """Have a connector to the receiver in each project."""
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
    main()
