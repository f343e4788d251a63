"""The web dyno: one process of uvicorn, which one core of Python fills before Postgres does."""

from heroku.wiring import build_receiver
from server.serve import serve


def main() -> None:
    """Serve at ``PORT``, which Heroku sets."""
    serve(build_receiver, 5000)


if __name__ == "__main__":
    main()
