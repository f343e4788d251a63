"""A Data Connector of DT Cloud on one's desk that was disabled for a day."""

from typing import Any

from core.event import event_key, read_time, rfc3339
from tests.support.dt_cloud import DEVICES, DtCloud, until

HOUR = 3_600


class Day:
    """A connector that is disabled for 24 hours in which its sensors publish.

    Args:
        cloud: DT Cloud, whose clock jumps.
        url: The receiver.
        secret: Its signature secret.
        sensors: How many there are.

    Attributes:
        number: The connector's id.
        since: When it was disabled, by the cloud's clock.
        until: When those hours ended. The connector is still disabled.
    """

    def __init__(self, cloud: DtCloud, url: str, secret: str, sensors: int = 3) -> None:
        self.cloud = cloud
        self.number = cloud.connector(
            url, displayName="Office", labels=["name"], httpConfig={"signatureSecret": secret}
        )
        self.sensors = [cloud.sensor("temperature", name=f"Room {n}", floor="2") for n in range(sensors)]
        for _ in range(2):
            self._hour()
        self._until_delivered()
        # Beyond the 12 hours that a backfill begins before the gap.
        cloud.clock(jump=13 * HOUR)
        self._hour()
        self._until_delivered()
        self.since = self._now()
        cloud.desk("PATCH", f"/connectors/{self.number}", {"status": "USER_DISABLED"})
        for _ in range(8):
            self._hour(3)
        self.until = self._now()

    def resume(self) -> None:
        """Have the sensors publish again, after the connector was enabled."""
        self._hour()
        self._until_delivered()

    def _until_delivered(self) -> None:
        until(lambda: not self.cloud.books(self.number)[2], 60)

    def _hour(self, hours: int = 1) -> None:
        for sensor in self.sensors:
            self.cloud.publish(sensor, temperature={"value": 21.5})
        self.cloud.publish(self.sensors[0])
        self.cloud.clock(jump=hours * HOUR)

    def _now(self) -> str:
        found = self.cloud.desk("POST", "/clock", {"isPaused": False})["now"]
        time = read_time(found)
        assert time
        return rfc3339(time)

    def published(self) -> set[str]:
        """Return the keys of the history of its sensors."""
        window: dict[str, Any] = {"startTime": "2020-01-01T00:00:00Z", "endTime": "2040-01-01T00:00:00Z"}
        return {
            event_key(event["eventId"], event["eventType"], sensor, b"")
            for sensor in self.sensors
            for event in self.cloud.call("GET", f"{DEVICES}/{sensor}/events", **window, pageSize=1000)["events"]
        }

    @property
    def window(self) -> tuple[str, ...]:
        """The arguments of `dtconn backfill` for that day."""
        return (self.number, "--since", self.since, "--until", self.until)
