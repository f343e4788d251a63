"""Plots as SVG, readable on a light and on a dark page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 76, 40, 84, 56
_HEIGHT = 400
_STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 15px }
.end { text-anchor: end } .middle { text-anchor: middle }
.grid { stroke: #d0d7de } .axis { stroke: #57606a } .line { fill: none; stroke-width: 2 }
.s0 { stroke: #0b62b8; fill: #0b62b8 } .s1 { stroke: #b8500b; fill: #b8500b } .s2 { stroke: #1a7f37; fill: #1a7f37 }
.s3 { stroke: #8250df; fill: #8250df }
.d1 { stroke-dasharray: 7 4 } .d2 { stroke-dasharray: 2 4 } .d3 { stroke-dasharray: 9 3 2 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .grid { stroke: #3d444d } .axis { stroke: #9198a1 }
.s0 { stroke: #6cb6ff; fill: #6cb6ff } .s1 { stroke: #f0a35e; fill: #f0a35e } .s2 { stroke: #6bc46d; fill: #6bc46d }
.s3 { stroke: #c297ff; fill: #c297ff }
}
</style>"""


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        title: What it shows, with the unit.
        ticks: The marked values, in order; the first and the last are its ends.
        is_log: Whether equal ratios take equal lengths; otherwise equal differences do.
    """

    title: str
    ticks: Sequence[float]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return where ``value`` is, from 0 to 1."""
        low, high, value = (
            (math.log(each) if self.is_log else each) for each in (self.ticks[0], self.ticks[-1], value)
        )
        return (value - low) / (high - low)


def up_to(most: float) -> list[float]:
    """Return round ticks from 0 to ``most`` or more."""
    step = 10 ** math.floor(math.log10(most))
    step *= next(part for part in (0.2, 0.5, 1, 2) if most / (step * part) <= 6)
    return [step * at for at in range(math.ceil(most / step) + 1)]


def decades(values: Sequence[float]) -> list[float]:
    """Return the powers of ten around ``values``."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**at for at in range(low, max(high, low + 1) + 1)]


def lines(title: str, source: str, x: Axis, y: Axis, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a plot with a line for each of ``series``, which are up to four; ``source`` is written below the title."""
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = _head(title, source, series, _HEIGHT, "d")
    for tick in y.ticks:
        at = _TOP + height * (1 - y.share(tick))
        parts += [_line("grid", _LEFT, at, _LEFT + width, at), _text(_LEFT - 8, at + 4, f"{tick:,.10g}", "end")]
    for tick in x.ticks:
        at = _LEFT + width * x.share(tick)
        parts += [_line("axis", at, _TOP + height, at, _TOP + height + 5)]
        parts += [_text(at, _TOP + height + 20, f"{tick:,.10g}", "middle")]
    parts += [_line("axis", _LEFT, _TOP + height, _LEFT + width, _TOP + height)]
    parts += [_text(_LEFT + width / 2, _HEIGHT - 12, x.title, "middle"), _text(_LEFT, _TOP - 8, y.title, "")]
    for index, points in enumerate(series.values()):
        places = [(_LEFT + width * x.share(a), _TOP + height * (1 - y.share(b))) for a, b in points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline class="line s{index} d{index}" style="fill: none" points="{path}"/>')
        parts += [f'<circle class="s{index}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in places]
    return "\n".join([*parts, "</svg>\n"])


def bars(
    title: str, source: str, x: Axis, mark: float, groups: Mapping[str, Sequence[float]], names: Sequence[str]
) -> str:
    """Return a plot with a group of bars for each of ``groups``, one for each of ``names``, and a line at ``mark``."""
    left, thick, gap = 200, 11, 12
    width, one = _WIDTH - left - _RIGHT, thick * len(names) + gap
    bottom = _TOP + one * len(groups)
    parts = _head(title, source, names, bottom + _BOTTOM, "bar")
    for tick in x.ticks:
        at = left + width * x.share(tick)
        parts += [_line("grid", at, _TOP, at, bottom), _text(at, bottom + 18, f"{tick:,.10g}", "middle")]
    for row, (name, values) in enumerate(groups.items()):
        top = _TOP + one * row + gap / 2
        parts.append(_text(left - 10, top + one / 2 - 2, name, "end"))
        for index, value in enumerate(values):
            size = f'width="{width * x.share(value):.1f}" height="{thick - 2}"'
            parts.append(f'<rect class="s{index}" x="{left}" y="{top + thick * index:.1f}" {size}/>')
    at = left + width * x.share(mark)
    parts += [_line("axis", at, _TOP - 4, at, bottom), _text(left + width / 2, bottom + 42, x.title, "middle")]
    return "\n".join([*parts, "</svg>\n"])


def _head(title: str, source: str, names: Iterable[str], height: float, kind: str) -> list[str]:
    size = f'viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" height="{height:.0f}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', f"<title>{escape(title)}</title>", _STYLE]
    parts += [_text(12, 22, title, "title"), _text(_WIDTH - 12, 22, source, "end")]
    at = 12.0
    for index, name in enumerate(names):
        parts.append(f'<line class="line s{index} {kind}{index}" x1="{at}" x2="{at + 26}" y1="42" y2="42"/>')
        parts.append(_text(at + 32, 46, name, ""))
        at += 52 + 7.2 * len(name)
    return parts


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
