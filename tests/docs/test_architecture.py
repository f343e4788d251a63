"""The files, functions and classes named in docs/architecture.md exist."""

import ast
import re

import pytest

from tests.support.processes import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py)`\s+`([\w.]+)`", PAGE)


def defined(path: str) -> set[str]:
    """Return the definitions of a module, as ``name`` or ``Class.name``."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name")}
    return found


def test_every_step_names_something() -> None:
    steps = re.findall(r"^\| \d+ \|", PAGE, re.MULTILINE)
    assert len(NAMED) >= len(steps) >= 10


# A fork may have removed the adapter that the page describes.
@pytest.mark.parametrize(("path", "name"), [each for each in NAMED if (ROOT / each[0]).parent.is_dir()])
def test_name_is_in_its_file(path: str, name: str) -> None:
    assert name in defined(path)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:core|server|tests)/[\w/]+\.py)`", PAGE))))
def test_file_exists(path: str) -> None:
    assert (ROOT / path).is_file()
