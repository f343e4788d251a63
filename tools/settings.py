"""Writes the tables of docs/settings.md from each folder's ``settings.toml``: ``make settings``.

The declarations are not in the code, because a cold start would have to read them.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = (
    "<!-- Written by `make settings`, from */settings.toml. -->",
    "<!-- End of the part that `make settings` writes. -->",
)
_HEADER = "| variable | default | meaning | example |\n| --- | --- | --- | --- |"


class Setting(NamedTuple):
    """A variable in a folder's ``settings.toml``. All fields except the example may contain Markdown."""

    default: str
    meaning: str
    example: str = ""


class Declared(NamedTuple):
    """The settings that the code of one folder reads."""

    folder: str
    title: str
    settings: dict[str, Setting]


def declared() -> list[Declared]:
    """Return all declarations: core's first, then by folder name."""
    return sorted(_read(), key=lambda each: (each.folder != "core", each.folder))


def _read() -> Iterator[Declared]:
    for path in ROOT.glob("*/settings.toml"):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        title = document.pop("title")
        yield Declared(path.parent.name, title, {name: Setting(**setting) for name, setting in document.items()})


def page() -> str:
    """Return the content of docs/settings.md: its own prose, with the tables between the two marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{''.join(map(_table, declared()))}{END}{after}"


def _table(one: Declared) -> str:
    rows = [
        f"| `{name}` | {setting.default} | {setting.meaning} | {_example(name, setting)} |"
        for name, setting in one.settings.items()
    ]
    return "\n".join((f"### {one.title}", _HEADER, *rows)) + "\n\n"


def _example(name: str, setting: Setting) -> str:
    return f"`{name}={setting.example}`" if setting.example else "see there"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
