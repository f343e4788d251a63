"""Medians, and ratios that survive a noisy machine."""

from collections.abc import Sequence
from statistics import median, quantiles

__all__ = ["RATIOS", "median", "paired_ratio", "percentiles"]

RATIOS = "Figures are medians over the rounds; each ratio is the median of every round's own."


def paired_ratio(values: Sequence[float], bases: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: what slows down a round affects both sides."""
    return median(value / base for value, base in zip(values, bases, strict=True))


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the 50th and the 99th percentile."""
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]
