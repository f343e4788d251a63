"""The web dyno: one uvicorn process, whatever WEB_CONCURRENCY says: docs/performance.md says why."""

from heroku.wiring import build_receiver
from server.serve import serve


def main() -> None:
    """Serve on ``PORT``, which Heroku sets."""
    serve(build_receiver, 5000)


if __name__ == "__main__":
    main()
