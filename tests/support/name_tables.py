"""``python -m tests.support.name_tables``: writes the name tables of the migration guide."""

from __future__ import annotations

from pathlib import Path

from turbo_tornado.migrate.names import SECTIONS, Section

from .generated import GeneratedPart

DOCS = Path(__file__).parents[2] / "docs"


def part(section: Section) -> GeneratedPart:
    """Return the part of the page that a table is in."""
    return GeneratedPart(section.title)


def table(section: Section) -> str:
    """Return a table of names in Markdown."""
    lines = ["", "| Turbo.lua | Python | what differs |", "|---|---|---|"]
    for row in section.rows:
        turbo, python = (_code(names) for names in (row.names, row.replacements))
        lines.append(f"| {turbo} | {python} | {_escaped(row.note)} |")
    return "\n".join([*lines, ""])


def _code(names: list[str]) -> str:
    return ", ".join(f"`{_escaped(name)}`" for name in names)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    for section in SECTIONS:
        part(section).write(DOCS / section.page, table(section))
