"""``dtconn cloud`` and ``dtconn scenario``: the buttons of dt_cloud's page as commands."""

import json
import re
import time
from typing import Annotated, Any

import typer

from cli import CommandError
from cli.connectors.values import shown_url
from cli.fail import fail
from core.environment import is_secure_url

app = typer.Typer(help="Control DT Cloud on your desk, like the buttons on its page.", no_args_is_help=True)

_TIMEOUT = 20.0
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)").fullmatch
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_POLL = 0.5

Url = Annotated[
    str, typer.Option("--cloud", envvar="DT_API_URL", metavar="URL", help="Where `make cloud` or `make demo` listens.")
]
_URL = "http://127.0.0.1:8010"


@app.command()
def ledger(url: Url = _URL) -> None:
    """Print the outcomes of all events, as JSON."""
    typer.echo(json.dumps(_ask(url, "GET", "/ledger"), indent=2))


@app.command()
def pause(url: Url = _URL) -> None:
    """Pause the cloud's clock."""
    _change(url, "/desk/clock", {"isPaused": True})


@app.command()
def resume(url: Url = _URL) -> None:
    """Resume the cloud's clock."""
    _change(url, "/desk/clock", {"isPaused": False})


@app.command()
def speed(factor: Annotated[str, typer.Argument(metavar="N|auto")], url: Url = _URL) -> None:
    """Set the speed of the clock; auto: as fast as deliveries keep up."""
    try:
        given: float | str = factor if factor == "auto" else float(factor)
    except ValueError:
        raise typer.BadParameter("It must be a number, such as 60, or auto.", param_hint="N|auto") from None
    _change(url, "/desk/clock", {"speed": given})


@app.command()
def jump(
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="Such as 30m, 12h, 1d.")], url: Url = _URL
) -> None:
    """Move the clock ahead."""
    match = _DURATION(duration)
    if not match:
        raise typer.BadParameter("It must be a number followed by s, m, h or d.", param_hint="DURATION")
    _change(url, "/desk/clock", {"jump": float(match[1]) * _SECONDS[match[2]]})


@app.command()
def step(url: Url = _URL) -> None:
    """Move the clock to the next attempt of a delivery."""
    _change(url, "/desk/clock", {"step": True})


@app.command()
def fault(
    name: Annotated[str, typer.Argument(help="A fault that the page lists, such as lose-answer.")],
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="How many times it happens; 0 turns it off.")] = 1,
    url: Url = _URL,
) -> None:
    """Inject a fault."""
    _change(url, f"/desk/faults/{name}", {"count": count})


@app.command()
def receiver(action: Annotated[str, typer.Argument(metavar="start|stop")], url: Url = _URL) -> None:
    """Start or stop the receiver of `make demo`."""
    if action not in ("start", "stop"):
        raise typer.BadParameter("It must be start or stop.", param_hint="start|stop")
    _change(url, "/desk/receiver", {"isRunning": action == "start"})


@app.command()
def resend(delivery: Annotated[int, typer.Argument(help="Its number on the page.")], url: Url = _URL) -> None:
    """Attempt a waiting delivery now."""
    _change(url, f"/desk/deliveries/{delivery}:resend", {})


@app.command()
def publish(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as touch or temperature.")],
    fields: Annotated[
        str, typer.Argument(metavar="JSON", help='The fields of the event, such as {"value":21.5}.')
    ] = "{}",
    url: Url = _URL,
) -> None:
    """Publish an event of an emulated sensor."""
    try:
        given = json.loads(fields)
    except ValueError:
        raise typer.BadParameter('It must be a JSON object, such as {"value":21.5}.', param_hint="JSON") from None
    _change(url, f"/desk/devices/{device}:publish", {event_type: given})


def scenario(name: Annotated[str, typer.Argument(help="Leave it out to list all.")] = "", url: Url = _URL) -> None:
    """Play a scenario on DT Cloud on your desk, and print what happens.

    Exits 0 if everything went as expected, 1 if not.

    \b
    Examples:
      dtconn scenario
      dtconn scenario outage-12h
    """  # noqa: D301
    if not name:
        for each in _ask(url, "GET", "/desk/frame")["scenarios"]:
            typer.echo(f"{each['name']:16} {each['title']}")
        return
    run, shown = _ask(url, "POST", f"/desk/scenarios/{name}", {})["run"], 0
    try:
        _follow(url, run, shown)
    except KeyboardInterrupt:
        _ask(url, "DELETE", "/desk/scenarios", {})
        raise typer.Exit(130) from None


def _follow(url: str, run: int, shown: int) -> None:
    while True:
        found = _ask(url, "GET", "/desk/frame")["scenario"]
        if found["run"] != run:
            fail(CommandError("Another scenario was started meanwhile."))
        for line in found["lines"][shown:]:
            typer.echo(line)
        shown = len(found["lines"])
        if found["isDone"]:
            raise typer.Exit(0 if found["isMet"] else 1)
        time.sleep(_POLL)


def _change(url: str, path: str, given: dict[str, Any]) -> None:
    answer = _ask(url, "POST", path, given)
    answer.pop("command", None)
    if answer:
        typer.echo(json.dumps(answer))


def _ask(url: str, method: str, path: str, given: dict[str, Any] | None = None) -> Any:
    # Plain http is secure only to loopback.
    if not (url.startswith("http://") and is_secure_url(url)):
        text = f"{shown_url(url)} is not on this machine: --cloud, or DT_API_URL, must name DT Cloud on your desk."
        fail(CommandError(text, 2))
    # Imported here, because no other command needs it.
    import urllib.error
    import urllib.request

    try:
        data = None if given is None else json.dumps(given, allow_nan=False).encode()
    except ValueError:
        fail(CommandError("A number must be finite: JSON has neither NaN nor Infinity.", 2))
    request = urllib.request.Request(  # noqa: S310 - http or https, as typed
        url.rstrip("/") + path, data, {"Content-Type": "application/json"}, method=method
    )
    try:
        # Without a proxy, because it is this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_TIMEOUT) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        try:
            text = json.loads(error.read())["error"]
        except (ValueError, LookupError, TypeError):
            text = f"HTTP {error.code}"
        fail(CommandError(f"{text}."))
    except (OSError, ValueError):
        fail(CommandError(f"Nothing answers at {url}. Start it with `make demo` or `make cloud`, or set --cloud."))
