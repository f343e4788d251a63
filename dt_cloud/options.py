"""Options that `make cloud` and `make demo` share."""

import math

import typer

from dt_cloud.clock import MAX_SPEED

PORT = 8010


def parse_speed(text: str) -> float | None:
    """Return the requested speed of time; None for ``auto``.

    Raises:
        typer.BadParameter: It is neither.
    """
    if text == "auto":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not (math.isfinite(speed) and 0 < speed <= MAX_SPEED):
        raise typer.BadParameter("It must be a number above 0, such as 3600, or auto.", param_hint="--speed")
    return speed
