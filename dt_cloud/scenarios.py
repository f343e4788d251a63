"""Scenarios with a checked result. The page, ``dtconn scenario`` and the tests play the same ones.

Each is a function of a `Stage`, in virtual time. It creates ten sensors and a connector, with the URL and the secret of
the existing connector.
"""

from collections.abc import Awaitable, Callable, Mapping

from dt_cloud.connectors import ACTIVE, USER_DISABLED
from dt_cloud.stage import SENSORS, Stage

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


async def outage_10h(stage: Stage) -> None:
    """Ten hours without a receiver: nothing is lost"""  # noqa: D415 - a title
    stage.say("the receiver is up")
    await stage.publish_for(30 * MINUTE, 10 * MINUTE)
    await stage.settle()
    stage.expect("everything so far is delivered", stage.ledger["delivered"] == stage.ledger["published"])
    await _outage(stage, 10 * HOUR)
    stage.expect_total(waiting=0, expired=0, dropped=0, delivered=stage.ledger["published"])


async def outage_12h(stage: Stage) -> None:
    """Twelve hours without a receiver: the first events are lost"""  # noqa: D415 - a title
    await _outage(stage, 12 * HOUR)
    lost = stage.ledger["expired"]
    # With an attempt each hour, the last one within 12 hours is after 11 h 8 min.
    stage.expect(f"{lost} events of the first hour expired", 0 < lost <= 3 * SENSORS)
    stage.expect_total(waiting=0, dropped=0, delivered=stage.ledger["published"] - lost)


async def _outage(stage: Stage, seconds: float) -> None:
    stage.say("the receiver is down")
    stage.reach(is_reached=False)
    await stage.publish_for(seconds, 30 * MINUTE)
    stage.say(f"the receiver is back, and {stage.ledger['waiting']} events wait")
    stage.reach(is_reached=True)
    await stage.settle()


async def secret_rotated(stage: Stage) -> None:
    """The signature secret is rotated under load"""  # noqa: D415 - a title
    if not stage.next_secret:
        stage.expect("the receiver holds two secrets, and the cloud was told the second: --next-secret", is_met=False)
        return
    stage.say("events come all the time, signed with the old secret")
    await stage.publish_for(HOUR, 5 * MINUTE)
    stage.reach(is_reached=False)
    stage.publish()
    stage.update(httpConfig={"signatureSecret": stage.next_secret})
    stage.say("the new secret is set, while ten events wait")
    stage.reach(is_reached=True)
    await stage.publish_for(HOUR, 5 * MINUTE)
    await stage.settle()
    stage.expect_total(waiting=0, expired=0, dropped=0, delivered=stage.ledger["published"])


async def disabled_day(stage: Stage) -> None:
    """A connector is disabled for a day"""  # noqa: D415 - a title
    stage.publish()
    await stage.settle()
    stage.update(status=USER_DISABLED)
    stage.say("disabled: nothing is queued, and nothing is sent later")
    await stage.publish_for(DAY, 2 * HOUR)
    lost = stage.ledger["dropped"]
    stage.expect(f"{lost} events are dropped, and counted", lost == stage.ledger["published"] - SENSORS > 0)
    stage.update(status=ACTIVE)
    stage.say("enabled: the next events arrive; the day's events are only in the API's history")
    stage.publish()
    await stage.settle()
    stage.expect_total(waiting=0, dropped=lost, delivered=2 * SENSORS)


async def first_signature(stage: Stage) -> None:
    """Retries that keep their first signature"""  # noqa: D415 - a title
    if stage.cloud.choices.signs != "once":
        stage.expect("the cloud signs once: start it with --signs once", is_met=False)
        return
    stage.reach(is_reached=False)
    stage.publish()
    await stage.sleep(3 * HOUR)
    stage.say("the receiver is back; the signatures expired two hours ago")
    stage.reach(is_reached=True)
    await stage.sleep(2 * HOUR)
    await stage.settle()
    stage.expect_total(expired=0, dropped=0, delivered=SENSORS)


Scenario = Callable[[Stage], Awaitable[None]]
# first_signature is only for the tests: it needs a receiver whose clock follows the cloud's.
SCENARIOS: Mapping[str, Scenario] = {
    "outage-10h": outage_10h,
    "outage-12h": outage_12h,
    "secret-rotated": secret_rotated,
    "disabled-day": disabled_day,
}


def title(scenario: Scenario) -> str:
    """Return the title of a scenario."""
    return (scenario.__doc__ or "").strip()
