"""The parsed documentation, for tests of its contents."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import ROOT

# The second-level headings of each adapter's README, in this order.
HEADINGS = [
    "What you get",
    "Before you start",
    "Deploy",
    "Connect DT Cloud",
    "Read the events",
    "Rotate the secret",
    "Operate it",
    "Authentication",
    "What it costs",
    "Settings",
    "When something goes wrong",
    "Remove it",
    "What is tested",
]


class Block(NamedTuple):
    """A fenced block of a page."""

    heading: str
    language: str
    text: str


class Page:
    """One parsed Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()
        self.text = path.read_text()
        self.blocks: list[Block] = []
        self.headings: list[str] = []
        prose: list[str] = []
        lines: list[str] = []
        fence: str | None = None
        for line in self.text.splitlines():
            if line.startswith("```"):
                if fence is not None:
                    self.blocks.append(Block(self.headings[-1], fence, "\n".join(lines) + "\n"))
                fence, lines = (line[3:], []) if fence is None else (None, [])
            elif fence is not None:
                lines.append(line)
            else:
                prose.append(line)
                if match := re.match(r"#+ (.*)", line):
                    self.headings.append(match[1])
        assert fence is None, f"{self.name}: a block without end"
        self.prose = "\n".join(prose)
        self.spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    def of(self, language: str, heading: str | None = None) -> list[str]:
        """Return the texts of the blocks in a language, below a heading if given; at least one must exist."""
        found = [
            block.text
            for block in self.blocks
            if block.language == language and (heading is None or block.heading == heading)
        ]
        assert found, f"{self.name} has no {language} block below {heading}"
        return found

    def table(self, *header: str) -> list[list[str]]:
        """Return the rows of the table with this header."""
        lines = iter(self.prose.splitlines())
        for line in lines:
            if _cells(line) == list(header):
                next(lines)
                rows = []
                for row in lines:
                    if not row.startswith("|"):
                        break
                    rows.append(_cells(row))
                    assert len(rows[-1]) == len(header), row
                return rows
        raise AssertionError(f"{self.name} has no table {header}")

    def commands(self) -> list[str]:
        """Return the lines of the shell blocks, without comments, and the inline code of the prose."""
        lines = [line for block in self.blocks if block.language == "sh" for line in block.text.splitlines()]
        return [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines] + self.spans

    def statements(self) -> list[str]:
        """Return the statements of its sql blocks."""
        return [one.strip() for text in self.of("sql") for one in text.split(";") if one.strip()]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []


def _pages() -> dict[str, Page]:
    # Without folders that begin with a dot: pytest writes a README.md into one.
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[!.]*/README.md")]
    return {page.name: page for page in map(Page, sorted(set(paths)))}


PAGES = _pages()
