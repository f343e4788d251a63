"""AWS Lambda: Function URLs, HTTP APIs, REST APIs and load balancers in front of one Receiver."""

from core.cold_start import quiet_collector

with quiet_collector():
    import os
    from typing import Any

    from aws_lambda.http import to_request, to_response
    from aws_lambda.wiring import build_receiver

    receiver = build_receiver(os.environ)


def handler(event: Any, _context: Any) -> dict[str, Any]:
    """Answer one delivery. Never raises: Lambda would answer 502, without the reason."""
    return to_response(receiver.handle(to_request(event)), event)
