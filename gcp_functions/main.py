"""Google Cloud: a Cloud Run function, called by functions-framework, in front of one Receiver."""

from core.cold_start import quiet_collector

with quiet_collector():
    import os
    import time
    from typing import TYPE_CHECKING

    from core.http import DisconnectedError, Request, TooLargeError
    from gcp_functions.http import Answer, to_request, to_response
    from gcp_functions.log import set_trace
    from gcp_functions.wiring import build_receiver

    receiver = build_receiver(os.environ)

if TYPE_CHECKING:
    import flask


def receive(request: "flask.Request") -> Answer:
    """Answer one delivery. Never raises, and never returns None: either would be a 500 without a reason."""
    set_trace(request.headers.get("X-Cloud-Trace-Context", ""))
    started = time.monotonic()
    bare = Request(request.method, request.path, (), b"")
    try:
        return to_response(receiver.handle(to_request(request), started))
    except TooLargeError:
        return to_response(receiver.too_large(bare, started))
    except DisconnectedError:
        return to_response(receiver.give_up(bare, "disconnected", started))
