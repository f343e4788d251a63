"""The result of a campaign: a table and its failures."""

from collections import Counter
from collections.abc import Iterator

from tests.campaign.campaign import Campaign
from tests.support.ledger import Period

# Seconds: DT Cloud waits for 10.
SLOWEST = 8.5
_HEAD = ("fault", "acknowledged", "lost", "twice", "500", "503", "other", "no answer", "slowest, s")


def table(campaign: Campaign) -> str:
    """Return a row for each fault, and one for all of them."""
    rows = [_HEAD, *(_row(period) for period in _by_fault(campaign.ledger.periods))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([f"{campaign.name}: {campaign.ledger.sent} deliveries", *lines])


def failures(campaign: Campaign) -> list[str]:
    """Return the broken promises, one sentence each."""
    total = _sum("all", campaign.ledger.periods)
    others = _others(total)
    found = [*campaign.problems]
    if total.lost:
        found.append(f"{total.lost} acknowledged deliveries are lost.")
    if total.twice and campaign.target.is_unique:
        found.append(f"{total.twice} deliveries are stored twice.")
    if campaign.ledger.altered:
        found.append(f"{campaign.ledger.altered} stored bodies are not as they were sent.")
    if total.statuses[500]:
        found.append(f"{total.statuses[500]} answers are 500.")
    if others:
        found.append(f"Answers that no campaign asks for: {dict(others)}.")
    if total.slowest > SLOWEST:
        found.append(f"The slowest answer took {total.slowest:.1f} s.")
    return [f"{campaign.name}: {sentence}" for sentence in found]


def _by_fault(periods: list[Period]) -> Iterator[Period]:
    for fault in dict.fromkeys(period.fault for period in periods if period.fault):
        yield _sum(fault, [period for period in periods if period.fault == fault])
    yield _sum("all", periods)


def _sum(fault: str, periods: list[Period]) -> Period:
    return Period(
        fault,
        statuses=sum((period.statuses for period in periods), Counter()),
        slowest=max(period.slowest for period in periods),
        acknowledged=sum(period.acknowledged for period in periods),
        lost=sum(period.lost for period in periods),
        twice=sum(period.twice for period in periods),
    )


def _others(period: Period) -> Counter[int | None]:
    return Counter({status: count for status, count in period.statuses.items() if status not in (200, 500, 503, None)})


def _row(period: Period) -> tuple[str, ...]:
    statuses = period.statuses
    counts = (period.acknowledged, period.lost, period.twice, statuses[500], statuses[503])
    ends = (_others(period).total(), statuses[None])
    return period.fault, *(f"{count:,}" for count in (*counts, *ends)), f"{period.slowest:.2f}"
