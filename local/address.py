"""Where `make run` listens, for it and for those who call it."""

import os

PORT = 8000


def port() -> str:
    """Return the port in PORT, unchecked, or the default."""
    return os.environ.get("PORT") or str(PORT)


def url() -> str:
    """Return the address of the receiver on this machine."""
    return f"http://127.0.0.1:{port()}"
