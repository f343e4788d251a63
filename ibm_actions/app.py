"""``python -m ibm_actions.app``: the application of Code Engine."""

from ibm_actions.wiring import build_async_receiver
from server.serve import serve


def main() -> None:
    """Serve on ``PORT``, which Code Engine sets."""
    serve(build_async_receiver, 8080)


if __name__ == "__main__":
    main()
