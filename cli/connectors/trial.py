"""The test of a connector by DT's own delivery: an emulated sensor is touched, and its event found again."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cli import CommandError
from cli.connectors.client import Client
from cli.connectors.newest import located
from cli.connectors.values import Connector, device_id
from readers import ReaderError
from readers.query import PROOF, Query
from readers.sources import open_reader

# Seconds to wait for the delivery, and between two looks.
WAIT = 60.0
_EVERY = 1.0
# The clocks of DT Cloud and this machine differ by less.
_AHEAD = timedelta(hours=1)


def run(client: Client, connector: Connector, source: str, say: Callable[[str], None], found: dict[str, Any]) -> bool:
    """Touch an emulated sensor; return whether DT Cloud counted a success, and the store has the event.

    Args:
        client: DT's API.
        connector: It must be active.
        source: The store. The local default is left out if there is no such file.
        say: Takes a line for a person.
        found: Gets the outcome, for a script.
    """
    project = connector.project_id
    # Of a run that was killed.
    _remove_sensors(client, project)
    before = client.metrics(connector).successes
    try:
        sensor = client.emulate(project, PROOF)
        client.touch(project, sensor)
        store = located(source)
        is_stored = _wait_for_store(store, sensor) if store else None
        is_counted = _wait_for_metrics(client, connector, before)
    finally:
        # All of them: the client repeats a request that is not answered, and then there are two.
        _remove_sensors(client, project)
    found["test"] = {"device": sensor, "isCounted": is_counted, "isStored": is_stored}
    say(f"A touch of the emulated sensor {sensor} was {'delivered' if is_counted else 'not delivered'}, "
        f"and {_STORED[is_stored]}.")  # fmt: skip
    return is_counted and is_stored is not False


def _remove_sensors(client: Client, project: str) -> None:
    for device in client.devices(project):
        if (labels := device.get("labels") or {}).get("dtconn") == PROOF["dtconn"] and "virtual-sensor" in labels:
            client.remove_emulated(project, device_id(device))


_STORED = {True: "is stored", False: "is not in the store", None: "the store was not looked at: name it with --from"}


def _wait_for_store(store: str, device: str) -> bool:
    query = Query(device_id=device, since=datetime.now(UTC) - _AHEAD, limit=1)
    try:
        with open_reader(store) as reader:
            return _wait(lambda: next(iter(reader.events(query)), None) is not None)
    except ReaderError as error:
        raise CommandError(str(error)) from None


def _wait_for_metrics(client: Client, connector: Connector, before: int) -> bool:
    return _wait(lambda: client.metrics(connector).successes > before)


def _wait(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + WAIT
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(_EVERY)
    return True
