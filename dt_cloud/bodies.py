"""Test events of one device, of every type that a Data Connector sends."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from core.event import rfc3339
from dt_cloud.events import SAMPLED, SUPPORTED, Fields, delivery_body, event_document, metadata
from dt_cloud.ids import xid
from dt_cloud.values import all_fields

MAX_SAMPLES = 30
_HEARTBEAT = timedelta(minutes=15)
# Not ASCII: a receiver that counts characters instead of bytes, or escapes them, fails.
_LABELS = {"name": "Kjølerom 1"}
# Every sensor sends some of the types; for those, use a temperature sensor.
_DEVICE_TYPES = {supported[0]: device_type for device_type, supported in reversed(list(SUPPORTED.items()))} | {
    "pressure": "co2", "connectionStatus": "ccon", "ethernetStatus": "ccon", "cellularStatus": "ccon",
    "connectionLatency": "ccon",
}  # fmt: skip


class Device:
    """A device that can send every event type, with values that move from one event to the next.

    Args:
        device_id: Its id; with the prefix ``emu`` it is an emulator, which has no product number.
        project_id: The id of its project.
        samples: How many samples a temperature or humidity event has, 1 to `MAX_SAMPLES`.
        labels: Its labels.
    """

    def __init__(self, device_id: str, project_id: str, samples: int = 1, labels: Mapping[str, str] = _LABELS) -> None:
        self.device_id = device_id
        self.project_id = project_id
        self._samples = samples
        self._labels = labels
        self._fields = all_fields()

    def body(self, event_type: str, now: datetime) -> bytes:
        """Return the body of a new event.

        Args:
            event_type: One of `EVENT_TYPES`.
            now: The time of the event, in UTC.
        """
        data = self._data(event_type, now)
        event = event_document(xid(now.timestamp()), self.project_id, self.device_id, event_type, data, now)
        device_type = _DEVICE_TYPES.get(event_type, "temperature")
        return delivery_body(event, self._labels, metadata(self.project_id, self.device_id, device_type, "102058"))

    def _data(self, event_type: str, now: datetime) -> Fields:
        fields = self._fields[event_type]
        if event_type == "labelsChanged":  # the one type without a wrapper and without an updateTime
            return next(fields)
        if event_type not in SAMPLED:
            return {event_type: {**next(fields), "updateTime": rfc3339(now)}}
        every = _HEARTBEAT / self._samples
        samples = [{**next(fields), "sampleTime": rfc3339(now - age * every)} for age in reversed(range(self._samples))]
        samples.reverse()  # newest first, and equal to the event's own value
        newest = {name: value for name, value in samples[0].items() if name != "sampleTime"}
        return {event_type: {**newest, "updateTime": rfc3339(now), "samples": samples, "isBackfilled": False}}


def tampered(body: bytes) -> bytes:
    """Change one byte of a body of `Device`: it is still a valid event, with another eventId."""
    at = body.index(b'"eventId":"') + len(b'"eventId":"')
    return body[:at] + (b"1" if body[at : at + 1] == b"0" else b"0") + body[at + 1 :]


# The types that a Data Connector can be configured to send.
EVENT_TYPES = tuple(all_fields())
