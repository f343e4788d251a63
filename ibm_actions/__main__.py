"""IBM Cloud: a function of Code Engine, or a raw web action of OpenWhisk, in front of one Receiver."""

import os
import sys

# IBM's test wrapper imports the function as part of a package, and does not find the modules beside it.
sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from core.cold_start import quiet_collector

with quiet_collector():
    import time
    from typing import Any

    from core.http import problem
    from core.receiver import BUG, RETRY
    from ibm_actions.http import is_raw, to_request, to_response
    from ibm_actions.wiring import build_receiver

    receiver = build_receiver(os.environ)

_NOT_RAW = (
    "This web action is not raw, so the bytes that DT signed are lost. Update it: wsk action update NAME --web raw"
)


def main(params: Any) -> dict[str, Any]:
    """Answer one delivery. Never raises, and always returns ``statusCode``: without it, the answer would be 200."""
    try:
        request = to_request(params)
        if is_raw(params):
            return to_response(receiver.handle(request))
        response = problem(503, "misconfigured", _NOT_RAW, RETRY)
        return to_response(receiver.refuse(request, response, _NOT_RAW, time.monotonic(), "ERROR", "failed"))
    except BaseException as error:
        receiver.log.notice("ERROR", f"{type(error).__name__} ended a request.")
        return to_response(BUG)
