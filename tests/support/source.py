"""Facts from the product's source, for tests of infrastructure against it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def strings(pattern: str, *globs: str) -> set[str]:
    """Return the string constants that match ``pattern`` in the files."""
    trees = (ast.parse(path.read_text()) for glob in globs for path in ROOT.glob(glob))
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {it for it in constants if isinstance(it, str) and re.fullmatch(pattern, it)}


def functions(path: str) -> set[str]:
    """Return the names of a module's functions."""
    return {it.name for it in ast.parse((ROOT / path).read_text()).body if isinstance(it, ast.FunctionDef)}


def outcomes() -> set[str]:
    """Return the outcomes that the receiver writes to its log, without ``health``."""
    (named,) = re.findall(r"outcome: (``.*?``) or ``health``", (ROOT / "core" / "log.py").read_text())
    return set(re.findall(r"``(\w+)``", named))
