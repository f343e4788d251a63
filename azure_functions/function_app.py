"""Azure Functions: an HTTP-triggered function in front of one receiver."""

from core.cold_start import quiet_collector

with quiet_collector():
    import os
    import time

    import azure.functions as func

    from azure_functions.http import to_request, to_response
    from azure_functions.wiring import auth_level, build_receiver
    from core.http import Request, Response, problem

    receiver = build_receiver(os.environ)

_WRONG_ADDRESS = "This is not the endpoint of the Data Connector: post to /events."
_NO_LENGTH = "Azure does not pass on a chunked body: send Content-Length."

app = func.FunctionApp(func.AuthLevel[auth_level(os.environ).upper()])


@app.function_name("receive")
@app.route("{*path}")
async def receive(req: func.HttpRequest) -> func.HttpResponse:
    """Answer one delivery, in the worker's event loop. Never raises: the host would answer 500, without the reason."""
    request = to_request(req)
    return to_response(_refused_here(request) or await receiver.handle(request))


def _refused_here(request: Request) -> Response | None:
    """Refuse requests that the host itself may answer 2xx, or whose body it withholds; None for others.

    While the function is not loaded, the host answers every method 2xx at / (its home page, or 204 without one) and at
    /admin/warmup. If such an address worked, events would be lost while the function is not loaded, so it never works:
    docs/decisions/0027-azure-host.md.
    """
    if request.path.strip("/").partition("/")[0].lower() in ("", "admin"):
        return _refuse(request, problem(404, "wrong-address", _WRONG_ADDRESS), _WRONG_ADDRESS)
    # The host passes on a body only with Content-Length.
    if request.method == "POST" and not request.body and request.values("transfer-encoding"):
        return _refuse(request, problem(411, "length-required", _NO_LENGTH), _NO_LENGTH)
    return None


def _refuse(request: Request, response: Response, advice: str) -> Response:
    return receiver.refuse(request, response, advice, time.monotonic())
