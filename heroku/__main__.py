"""The web dyno: one uvicorn process. It saturates one core before Postgres is the limit."""

from heroku.wiring import build_receiver
from server.serve import serve


def main() -> None:
    """Serve on ``PORT``, which Heroku sets."""
    serve(build_receiver, 5000)


if __name__ == "__main__":
    main()
