"""Every adapter as its platform runs it, collected from each tests/<folder>/adapters.py.

Such a module has `ADAPTERS`, and optionally:

- `FRONT_DOORS`: how one HTTP request becomes a `Request`.
- `KEEP_LAST`: those of them that let only the last of repeated headers through.
- `OTHER_DOORS`: the adapters that differ from another one by their front door alone.
- `PIPED_LOGS`: the adapters whose process writes the log to its own output; one for each program.
- `SERVERS`: the adapters that run `server.serve`.
- `CAMPAIGNS`: how a campaign runs, by the name that is typed.
"""

from typing import Any

from tests.contract.adapter import Campaign, Factory, FrontDoor
from tests.support.found import found

_MODULES = found("adapters")


def _merged(name: str) -> dict[str, Any]:
    return {key: value for module in _MODULES for key, value in getattr(module, name, {}).items()}


def _names(name: str) -> list[str]:
    return [each for module in _MODULES for each in getattr(module, name, ())]


ADAPTERS: dict[str, Factory] = _merged("ADAPTERS")
FRONT_DOORS: dict[str, FrontDoor] = _merged("FRONT_DOORS")
CAMPAIGNS: dict[str, Campaign] = _merged("CAMPAIGNS")
KEEP_LAST, PIPED_LOGS, SERVERS = _names("KEEP_LAST"), _names("PIPED_LOGS"), _names("SERVERS")
_OTHER_DOORS = _names("OTHER_DOORS")
ONE_DOOR_EACH = [name for name in ADAPTERS if name not in _OTHER_DOORS]
