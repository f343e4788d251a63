"""IBM Cloud: a function of Code Engine, or a raw web action of OpenWhisk, in front of one Receiver."""

import gc

# The collector would look through what some hundred imports leave behind, again and again, and find nothing to free.
gc.disable()

import os
import sys
import time
from typing import Any

# IBM's own wrapper for trying a function imports it as part of a package, and does not find what lies beside it.
sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from core.log import Log
from core.receiver import Receiver
from core.settings import Settings
from ibm_actions.environment import build_store
from ibm_actions.params import is_raw, to_request, to_response

_NOT_RAW = (
    "This web action is not raw, so the bytes that DT signed are not here. Update it: wsk action update NAME --web raw"
)

receiver = Receiver.build(lambda: (Settings.load(os.environ), build_store(os.environ)), Log())
gc.freeze()
gc.enable()


def main(params: Any) -> dict[str, Any]:
    """Answer one delivery. Never raises and never returns without ``statusCode``, which would be a 200."""
    try:
        request = to_request(params)
        if is_raw(params):
            return to_response(receiver.handle(request))
        return to_response(receiver.misconfigured(request, _NOT_RAW, time.monotonic()))
    except BaseException as error:
        return to_response(receiver.crashed(error))
