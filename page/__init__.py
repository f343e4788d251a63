"""The page of dt_cloud, and the local receiver's part: plain HTML and ES modules, without a build step."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
# Nothing from other hosts, whatever a label or an answer contains.
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Frames a second.
FRAMES = 5


def read(name: str) -> tuple[bytes, dict[str, str]] | None:
    """Return a file of the page and its headers; None if the name is unknown."""
    path = STATIC / name
    if path.parent != STATIC or path.suffix not in _TYPES or not path.is_file():
        return None
    return path.read_bytes(), {**HEADERS, "content-type": _TYPES[path.suffix]}
