"""Imports between the folders: no import upwards, and no adapter imports another."""

import sys

from tests.support.found import ADAPTER_FOLDERS
from tests.support.processes import ROOT

sys.path.append(str(ROOT / "tools"))
from size import arrows, sources

BELOW = {
    "core": {"core/verify", "core/stores", "core/service"},
    "core/verify": {"core", "core/stores", "core/service"},
    "core/stores": {"core"},
    "core/service": {"core"},
    "server": {"core", "core/verify"},
    # The sender's half knows how a receiver reads an event, and no receiver.
    "dt_cloud": {"core", "core/verify", "page", "dt_cloud/api"},
    "dt_cloud/api": {"core", "dt_cloud"},
    # Its page says when a sensor was last seen, as dtconn does.
    "local": {"core", "core/stores", "server", "page", "deployed", "readers"},
    "deployed": {"core/verify"},
    # Postgres has one form of URL.
    "readers": {"core", "heroku"},
    "heroku": {"core", "core/stores", "core/service", "server", "deployed"},
    "cli": {
        "core",
        "core/stores",
        "core/verify",
        "local",
        "heroku",
        "dt_cloud",
        "readers",
        "deployed",
        "cli/connectors",
    },
    "cli/connectors": {"core", "cli", "dt_cloud", "readers", "deployed"},
}
# A worker and a deployment, which are not packaged, may take a vendor's client from the reader.
ADAPTER = {"core", "core/verify", "core/stores", "core/service", "server", "readers", "deployed"}


def test_no_import_goes_upwards() -> None:
    found = arrows(sources())
    assert {room for room, _ in found} >= {"core", "server", *(folder.name for folder in ADAPTER_FOLDERS)}
    for room, other in found:
        assert other in BELOW.get(room, ADAPTER), (room, other)
