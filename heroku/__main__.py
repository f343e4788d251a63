"""The web dyno: one uvicorn process, whatever WEB_CONCURRENCY says. A second one is not worth its memory and database
connection: docs/performance.md.
"""

from heroku.wiring import build_receiver
from server.serve import serve


def main() -> None:
    """Serve on ``PORT``, which Heroku sets."""
    serve(build_receiver, 5000)


if __name__ == "__main__":
    main()
