"""Finds this clone's adapters, and the files of the local receiver, from whatever folder dtconn is called."""

import os
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


def adapters() -> dict[str, str]:
    """Return the folder of each adapter of this clone, by the name of its package, or by its own without a package."""
    found = {}
    for path in sorted(Path(__file__).resolve().parent.parent.glob("*/wiring.py")):
        package, folder = path.with_name("package.toml"), path.parent.name
        found[str(tomllib.loads(package.read_text("utf-8"))["name"]) if package.is_file() else folder] = folder
    return found


def find(path: Path) -> Path:
    """Return a path relative to the working directory; to the clone that dtconn is part of, if only that has it."""
    in_clone = _CLONE / path
    # os.path.exists, because Path.exists raises where a folder may not be searched.
    if not os.path.exists(path) and os.path.exists(_CLONE / "Makefile") and os.path.exists(in_clone):
        return in_clone
    return path
