"""``dtconn check``: an exit code, and a webhook, for sensors that fell silent."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import filterfalse
from typing import Annotated, Any

import typer

from cli import CommandError
from cli.fail import fail
from cli.reading import DATABASE, AsJson, Device, From, Labels, Yes, ask, build_query, opened
from cli.webhook import Webhook, post


@dataclass(slots=True)
class Seen:
    """When a sensor was last heard of.

    Attributes:
        device_id: Its id.
        name: Its label ``name``.
        at: As in `readers.seen`; None if it only sent late readings.
    """

    device_id: str | None
    name: str | None
    at: datetime | None


def check(
    silent: Annotated[str, typer.Option(metavar="AGE", help="Such as 30m, 2h, 1d.")],
    source: From = DATABASE,
    device_id: Device = None,
    labels: Labels = None,
    webhook: Webhook = None,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    """Show when each sensor was last heard of, and fail if one is silent for longer than allowed.

    Exits 0 if all were heard of, 1 if one is silent or nothing is stored, 2 if the store cannot be read or the webhook
    does not answer 2xx. What a sensor sent late from its memory does not count, and a time ahead of its arrival counts
    as of the arrival. DT Cloud has rules of its own for thresholds and sensors that are offline; this finds silence
    between DT Cloud and your store too.

    \b
    Examples:
      dtconn check --silent 2h
      dtconn check --silent 30m --label floor=2 --webhook https://example.com/alarm
    """  # noqa: D301
    from cli.times import parse_age
    from readers.query import is_proof
    from readers.rows import UNKNOWN_TIME
    from readers.seen import seen_at

    try:
        allowed = parse_age(silent)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--silent") from None
    now = datetime.now(UTC)
    query = build_query(device_id, None, labels)
    try:
        with opened(source, needs_history=True, exit_code=2) as reader:
            ask(reader.last_signs_cost(query), yes)
            signs = filterfalse(is_proof, reader.last_signs(query))
            found = (Seen(each.device_id, each.labels.get("name"), seen_at(each)) for each in signs)
            seen = sorted(found, key=lambda one: one.at or UNKNOWN_TIME)
        late = [one for one in seen if one.at is None or now - one.at > allowed]
        _show(seen, late, now, as_json)
        if webhook and late:
            post(webhook, {"silentFor": silent, "sensors": [_document(one, now) for one in late]})
    except CommandError as error:
        fail(error)
    raise typer.Exit(1 if late or not seen else 0)


def _show(seen: list[Seen], late: list[Seen], now: datetime, as_json: bool) -> None:
    from cli.tables import seen_table, show

    if as_json:
        for one in seen:
            typer.echo(json.dumps(_document(one, now) | {"isSilent": one in late}))
    else:
        show(seen_table(seen, late, now), "Nothing that is stored matches.")
        typer.echo(f"{len(late)} of {len(seen)} sensors are silent.", err=bool(late))


def _document(one: Seen, now: datetime) -> dict[str, Any]:
    from core.event import rfc3339

    return {
        "deviceId": one.device_id,
        "name": one.name,
        "lastSeen": one.at and rfc3339(one.at),
        "ageSeconds": one.at and round((now - one.at).total_seconds()),
    }
