"""Read the documents as their readers do: headings, blocks to type or to paste, tables, links."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from tests.conftest import REPOSITORY

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
DOCUMENTS += sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))


@dataclass(frozen=True)
class Block:
    """A fenced block, with the heading that it stands under."""

    heading: str
    language: str
    text: str


def read(document: str) -> str:
    return (REPOSITORY / document).read_text()


def blocks(document: str) -> list[Block]:
    found: list[Block] = []
    heading, language, lines = "", None, []
    for line in read(document).splitlines():
        if language is None and line.startswith("```"):
            language, lines = line[3:], []
        elif language is not None and line == "```":
            found.append(Block(heading, language, "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert language is None, f"{document}: a block has no end"
    return found


def commands(document: str) -> dict[str, list[str]]:
    """The blocks to type, by heading."""
    found: dict[str, list[str]] = defaultdict(list)
    for block in blocks(document):
        if block.language == "sh":
            found[block.heading].append(block.text)
    return found


def tables(document: str) -> list[list[list[str]]]:
    """The rows of each table, without its head; code marks are taken off."""
    found: list[list[list[str]]] = []
    inside = False
    for line in read(document).splitlines():
        if not line.startswith("|"):
            inside = False
        elif inside:
            found[-1].append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
        elif set(line) <= set("|- "):
            found.append([])
            inside = True
    return found


def links(document: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", read(document))


def anchors(document: str) -> set[str]:
    """As GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.*)$", read(document))
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
