"""The commands of dtconn, their options, and the rules between options."""

import json
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from cli import CommandError, backup, check, cloud, export, first_event, mirror, places, reading, rotate
from cli.connectors import backfill, connect, doctor, status, switch, watch
from cli.fail import fail
from cli.output import guard
from cli.secret import SECRET_FILE, Secret, SecretFile, find_secret
from dt_cloud import CloudError
from dt_cloud.bodies import EVENT_TYPES, MAX_SAMPLES, Device
from dt_cloud.ids import xid
from local import address


class _App(typer.Typer):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        guard()
        try:
            return super().__call__(*arguments, **options)
        finally:
            # Here, because at the end of the process a failure would be a text of Python's.
            if sys.stdout:
                sys.stdout.flush()


app = _App(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # tracebacks could show local variables, and one of them is the secret
)

app.add_typer(cloud.app, name="cloud")
app.command()(cloud.scenario)
for command in (
    reading.events,
    reading.readings,
    reading.latest,
    reading.tail,
    mirror.mirror,
    export.export,
    check.check,
    backup.backup,
    first_event.first_event,
    rotate.rotate_secret,
    connect.connect,
    status.status,
    doctor.doctor,
    watch.watch,
    backfill.backfill,
    switch.enable,
    switch.disable,
    switch.sync,
    switch.disconnect,
):
    app.command()(command)

_ES256_KEY = Path("var/es256-key.pem")
# Like `sub` in DT's tokens, it may be any text that the receiver is configured with.
_ORGANIZATION = "dtconn"
_FAULTS = "Faults, each to be answered 401 (one at a time)"
_ES256 = "DT's asymmetric signature"
_INTERRUPTED = 130


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"dtconn {places.version()}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version, and exit.")
    ] = False,
) -> None:
    """Send signed events to a receiver, as DT Cloud does, and look at what it stored, whichever store it is in."""


@app.command()
def send(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Argument(help="The address of the receiver.", metavar="URL", show_default="`make run`, on PORT or 8000"),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            "-t",
            metavar="TYPE",
            show_default="temperature",
            help="An event type, or all; repeat it for several.",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many events of each type.")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0.01, show_default="as fast as answered", help="Events per second.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="How many requests are on their way at a time.")] = 8,
    device_id: Annotated[
        str | None, typer.Option("--device", metavar="ID", show_default="a new emulator", help="The device's id.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, max=MAX_SAMPLES, help="Samples in each temperature and humidity event.")
    ] = 1,
    duplicate: Annotated[bool, typer.Option("--duplicate", help="Deliver each event twice.")] = False,
    secret: Secret = None,
    secret_file: SecretFile = SECRET_FILE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    tamper: Annotated[
        bool, typer.Option("--tamper", help="Change a byte of the body after signing.", rich_help_panel=_FAULTS)
    ] = False,
    expired: Annotated[
        bool, typer.Option("--expired", help="Sign with a token that ran out two hours ago.", rich_help_panel=_FAULTS)
    ] = False,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Send no signature header.", rich_help_panel=_FAULTS)
    ] = False,
    wrong_secret: Annotated[
        bool, typer.Option("--wrong-secret", help="Sign with another secret.", rich_help_panel=_FAULTS)
    ] = False,
    both_signatures: Annotated[
        bool,
        typer.Option(
            "--both-signatures",
            help="Send DT-Asymmetric-Signature too, and print what the receiver has to be told to trust its key.",
            rich_help_panel=_ES256,
        ),
    ] = False,
    es256_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=str(_ES256_KEY),
            help="The PEM file of the key, made when it is not there.",
            rich_help_panel=_ES256,
        ),
    ] = None,
    organization: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            show_default=_ORGANIZATION,
            help="The organization it is signed for.",
            rich_help_panel=_ES256,
        ),
    ] = None,
) -> None:
    """Sign and post events, one request for each, as DT Cloud does.

    Exits 0 if each answer was as expected: the receiver's 200, or 401 for the faults; 1 if not; 2 if the command makes
    no sense.

    \b
    Examples:
      dtconn send                               one temperature, to `make run`
      dtconn send --type all                    one event of each type
      dtconn send -n 1000 --json                many, with a summary for scripts
      dtconn send --duplicate                   must be stored once
      dtconn send --tamper                      must be refused
      dtconn send https://example.herokuapp.com
    """  # noqa: D301
    from rich.console import Console

    from cli.send import Plan, Tally, deliver
    from dt_cloud.loop import run
    from dt_cloud.signing import Es256Key, Signer

    url = url or address.url()
    _check_url(url)
    event_types = _event_types(types)
    faults = {"--tamper": tamper, "--expired": expired, "--unsigned": unsigned, "--wrong-secret": wrong_secret}
    chosen = [name for name, is_on in faults.items() if is_on]
    if len(chosen) > 1:
        raise typer.BadParameter("One fault would hide the other: choose one.", param_hint=chosen)
    if unsigned and both_signatures:
        raise typer.BadParameter("Signatures or none: choose one.", param_hint=["--unsigned", "--both-signatures"])
    if not both_signatures and (es256_key or organization):
        raise typer.BadParameter("They need --both-signatures.", param_hint=["--es256-key", "--organization"])
    try:
        signer = Signer(
            secret=None
            if unsigned
            else secrets.token_bytes()
            if wrong_secret
            else find_secret(secret, places.find(secret_file)),
            key=Es256Key.load(es256_key or _ES256_KEY) if both_signatures else None,
            organization=organization or _ORGANIZATION,
            expired=expired,
        )
    except CommandError as error:
        fail(error)
    except CloudError as error:
        fail(CommandError(str(error), 2))
    if signer.key:
        _show_key(signer.key.jwks, signer.organization)
    now = time.time()
    plan = Plan(
        url=url,
        signer=signer,
        device=Device(device_id or f"emu{xid(now)}", xid(now), samples),
        event_types=event_types,
        count=count,
        rate=rate,
        concurrency=concurrency,
        duplicate=duplicate,
        tamper=tamper,
        refused=bool(chosen),
    )
    tally, failure, exit_code = Tally(plan), None, 0
    try:
        run(deliver(plan, tally, Console(stderr=True)))
    except KeyboardInterrupt:
        exit_code = _INTERRUPTED
    except CommandError as error:
        failure = error
    if as_json:
        typer.echo(json.dumps(tally.document()))
    elif tally.count or not failure:
        tally.show(Console(highlight=False, markup=False, emoji=False, soft_wrap=True))
        if tally.is_refused:
            _show_secrets(context, secret, places.find(secret_file))
    if failure:
        fail(failure)
    raise typer.Exit(exit_code or (0 if tally.is_as_expected else 1))


def _show_secrets(context: typer.Context, secret: str | None, path: Path) -> None:
    """Say which secret was used, and where the receiver's is."""
    source = f"in the file {path}"
    if secret:
        given = context.get_parameter_source("secret")
        source = "of --secret" if given and given.name == "COMMANDLINE" else "in the variable DT_SIGNATURE_SECRET"
    typer.echo(
        f"They were signed with the secret {source}, and the receiver has another. `make run` says where its secret "
        "is; `dtconn first-event CLOUD --show` prints that of a deployed receiver.",
        err=True,
    )


def _check_url(text: str) -> None:
    try:
        url = urlsplit(text)
        is_endpoint = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_endpoint = False
    if not is_endpoint:
        raise typer.BadParameter("It must begin with https:// or http://, and name a host.", param_hint="URL")


def _event_types(names: list[str] | None) -> tuple[str, ...]:
    names = names or ["temperature"]
    if "all" in names:
        return EVENT_TYPES
    for name in names:
        if name not in EVENT_TYPES:
            raise typer.BadParameter(f"{name} is none of: all, {', '.join(EVENT_TYPES)}.", param_hint="--type")
    return tuple(names)


def _show_key(jwks: object, organization: str) -> None:
    lines = (
        "To verify DT-Asymmetric-Signature by this key, and by no other, start the receiver with:",
        f"export DT_JWKS={shlex.quote(json.dumps(jwks, separators=(',', ':')))}",
        f"export DT_ORGANIZATION_ID={shlex.quote(organization)}",
        "",
    )
    typer.echo("\n".join(lines), err=True)
