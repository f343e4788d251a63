"""docs/settings.md equals the output of `make settings`, and lists the variables that the code reads."""

import ast
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from core.environment import Environment, SettingsError
from core.settings import Settings
from core.spelling import nearest
from core.verify.signature import Policy
from local.wiring import DATABASE
from tests.support.deliveries import ORGANIZATION, SECRET
from tests.support.found import ADAPTER_FOLDERS
from tests.support.pages import PAGES
from tests.support.processes import ROOT

sys.path.append(str(ROOT / "tools"))
from settings import PAGE, declared, page

SETTINGS = PAGES["docs/settings.md"]
DECLARED = declared()
BY_FOLDER = {one.folder: one.settings for one in DECLARED}
CORE = BY_FOLDER["core"]
VARIABLES = {name for one in DECLARED for name in one.settings}


def test_page_equals_the_output_of_make_settings() -> None:
    assert PAGE.read_text() == page(), "make settings"


READERS = {name for name in vars(Environment) if not name.startswith("_")}


def variables_read(folder: Path) -> set[str]:
    """Return the names of the environment variables that a folder's code reads."""
    return {name for file in folder.rglob("*.py") for name in _read(ast.parse(file.read_text()))}


def _read(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "getenv" or (node.func.attr in READERS and _is_environ(node.func.value)):
                values = node.args[:1]
        elif isinstance(node, ast.Subscript) and _is_environ(node.value):
            values = [node.slice]
        elif isinstance(node, ast.keyword) and node.arg == "envvar":
            values = node.value.elts if isinstance(node.value, ast.List) else [node.value]
        elif isinstance(node, ast.Constant):
            # Our own variables, however they are read.
            values = [node] if re.fullmatch(r"DT_[A-Z0-9_]+", str(node.value)) else []
        found |= {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)}
    return found


def _is_environ(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.strip("_") in ("environ", "environment")


@pytest.mark.parametrize("folder", ["core", "server", *(path.name for path in ADAPTER_FOLDERS)])
def test_declared_settings_are_the_read_ones(folder: str) -> None:
    """An adapter may also read what core declares."""
    settings = BY_FOLDER.get(folder, {}).keys()
    assert variables_read(ROOT / folder) - (set() if folder == "core" else CORE.keys()) == settings


def test_dtconn_reads_declared_settings() -> None:
    assert variables_read(ROOT / "cli") <= VARIABLES


def test_no_setting_looks_like_a_misspelt_other() -> None:
    for name in VARIABLES:
        assert nearest(name, VARIABLES - {name}) is None


def test_default_of_the_database() -> None:
    assert BY_FOLDER["local"]["DT_DATABASE"].default == f"`{DATABASE}`"


FIELDS = {
    "DT_SIGNATURE_POLICY": "policy",
    "DT_ISSUER": "issuer",
    "DT_LEEWAY": "leeway",
    "DT_ACCEPT_EXPIRED_FOR": "accept_expired_for",
    "DT_ACCEPT_SHA1": "accept_sha1",
}
BOTH = {"DT_SIGNATURE_SECRET": SECRET, "DT_ORGANIZATION_ID": ORGANIZATION}


@pytest.mark.parametrize("name", FIELDS)
def test_defaults_and_examples(name: str) -> None:
    default, example = CORE[name].default.strip("`"), CORE[name].example

    def value(environ: dict[str, str]) -> str:
        found = str(getattr(Settings.load(environ).verifier, FIELDS[name]))
        return found.lower() if found in ("True", "False") else found

    assert value(BOTH) == value(BOTH | {name: ""}) == default
    assert value(BOTH | {name: example}) == example != default


def test_limits() -> None:
    limits = {name: int(match[1]) for name, one in CORE.items() if (match := re.search(r"up to (\d+)", one.meaning))}
    assert set(limits) == {"DT_LEEWAY", "DT_ACCEPT_EXPIRED_FOR"}
    for name, limit in limits.items():
        Settings.load(BOTH | {name: str(limit)})
        with pytest.raises(SettingsError):
            Settings.load(BOTH | {name: str(limit + 1)})


def test_examples_in_settings_md_are_accepted() -> None:
    examples = [span.partition("=")[::2] for span in SETTINGS.spans if re.match(r"DT_\w+=", span)]
    assert {name for name, _ in examples} >= {name for name in VARIABLES if name.startswith("DT_")} - {"DT_JWKS"}
    for name, value in examples:
        if "$(" in value:  # a command's output
            continue
        Settings.load(({} if value == "unsigned" else BOTH) | {name: value})
    several = [value for _, value in examples if value.startswith("[") or "," in value]
    assert len(several) >= 3
    # The examples in the tables cause no warning, for example about a short secret or an unknown event type.
    for one in DECLARED:
        for name, setting in one.settings.items():
            if setting.example and "$(" not in setting.example:
                assert Settings.load(BOTH | {name: setting.example}).warnings == ()


NOTHING: dict[str, str] = {}
ONE_SECRET, ONE_ORGANIZATION = ({name: value} for name, value in BOTH.items())
NEEDS = {
    "a secret, or an organization, or both": [ONE_SECRET, ONE_ORGANIZATION, BOTH],
    "a secret": [ONE_SECRET, BOTH],
    "an organization": [ONE_ORGANIZATION, BOTH],
    "a secret and an organization": [BOTH],
    "neither": [NOTHING],
}


def test_needs_of_each_policy() -> None:
    rows = SETTINGS.table("`DT_SIGNATURE_POLICY`", "needs", "lets in")
    assert [row[0].strip("`") for row in rows] == list(get_args(Policy))
    for policy, needs, _ in rows:
        enough = []
        for given in (NOTHING, ONE_SECRET, ONE_ORGANIZATION, BOTH):
            try:
                Settings.load(given | {"DT_SIGNATURE_POLICY": policy.strip("`")})
            except SettingsError:
                continue
            enough.append(given)
        assert enough == NEEDS[needs], policy
