"""AWS Lambda Powertools in front of a conditional put by boto3: it routes the event of a Function URL, and logs."""

from types import SimpleNamespace
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver

from bench.peers import aws_dynamodb

_logger = Logger(service="receiver")
_app = LambdaFunctionUrlResolver()
_CONTEXT = SimpleNamespace(
    function_name="receiver",
    memory_limit_in_mb=256,
    invoked_function_arn="arn:aws:lambda:eu-west-1:123456789012:function:receiver",
    aws_request_id="5f0c2a3e-8d51-4b1c-9f0e-2f6d3a7b9c10",
)


@_app.post("/")
def _receive() -> dict[str, str]:
    event = _app.current_event
    body = event.decoded_body or ""
    aws_dynamodb.handle(event.headers["x-dt-signature"], body.encode())
    _logger.info("stored", bytes=len(body))
    return {"outcome": "stored"}


@_logger.inject_lambda_context
def _handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer: dict[str, Any] = _app.resolve(event, context)
    return answer


def handle(token: str, body: bytes) -> None:
    """Store one delivery."""
    event = {
        "version": "2.0",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "x-dt-signature": token},
        "requestContext": {"http": {"method": "POST", "path": "/"}, "stage": "$default"},
        "body": body.decode(),
        "isBase64Encoded": False,
    }
    answer = _handler(event, _CONTEXT)
    if answer["statusCode"] != 200:
        raise ValueError(answer["body"])
