"""Write the tables of docs/settings.md from what each folder says of its own settings: ``make settings``.

The declarations are files beside the code, not code, because a cold start would have to read them.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- Written by `make settings`, from */settings.toml. -->", "<!-- The end of what is written. -->"
_HEADER = "| variable | default | meaning | example |\n| --- | --- | --- | --- |"


class Setting(NamedTuple):
    """What a folder's ``settings.toml`` says of a variable. All but the example may hold Markdown."""

    default: str
    meaning: str
    example: str = ""


class Declared(NamedTuple):
    """The settings that the code of one folder reads."""

    folder: str
    title: str
    settings: dict[str, Setting]


def declared() -> list[Declared]:
    """Return all declarations: those of core first, then by the name of the folder."""
    return sorted(_read(), key=lambda each: (each.folder != "core", each.folder))


def _read() -> Iterator[Declared]:
    for path in ROOT.glob("*/settings.toml"):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        title = document.pop("title")
        yield Declared(path.parent.name, title, {name: Setting(**setting) for name, setting in document.items()})


def page() -> str:
    """Return what docs/settings.md should be: its own prose, and the tables between the two marks."""
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
