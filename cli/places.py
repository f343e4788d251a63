"""Finds the files of the local receiver, from whatever folder dtconn is called."""

import tomllib
from importlib import metadata
from pathlib import Path

_NAME = "data-connector-receiver"
_CLONE = Path(__file__).resolve().parent.parent


def version() -> str:
    """Return dtconn's version: that of the installed package, or else of the clone."""
    try:
        return metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        return str(tomllib.loads((_CLONE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def find(path: Path) -> Path:
    """Return a path relative to the working directory; to the clone that dtconn is part of, if only that has it."""
    if not path.is_absolute() and not path.exists() and (_CLONE / "Makefile").is_file() and (_CLONE / path).exists():
        return _CLONE / path
    return path
