"""The rows of the name tables."""

from __future__ import annotations

import re
from typing import NamedTuple


class Row(NamedTuple):
    """Names of Turbo.lua and what replaces them.

    Several names in one cell are separated by ``"; "``.
    """

    #: Names of Turbo.lua, as its documentation writes them. A name that ends with ``*`` stands
    #: for all names that begin like this.
    turbo: str
    #: Python expressions, with the imports of the guide. Empty: there is no counterpart.
    python: str = ""
    #: The difference, in Markdown. The checker prints the bold sentences.
    note: str = ""

    @property
    def names(self) -> list[str]:
        """The names of Turbo.lua."""
        return _split(self.turbo)

    @property
    def replacements(self) -> list[str]:
        """The Python expressions."""
        return _split(self.python)

    def replacement_for(self, position: int) -> str:
        """Return what replaces the name at this position, as plain text."""
        replacements = self.replacements
        # One expression cannot stand for all names that begin alike.
        if replacements and not (self.note and self.names[position].endswith("*")):
            if len(replacements) == len(self.names):
                return replacements[position]
            return ", ".join(replacements)
        first_sentence = self.note.partition(". ")[0].rstrip(".")
        return _plain(first_sentence) or "no counterpart"

    @property
    def warnings(self) -> list[str]:
        """The bold sentences of the note, as plain text."""
        return [_plain(text).rstrip(".") for text in re.findall(r"\*\*(.+?)\*\*", self.note)]


class Section(NamedTuple):
    """One table of the guide."""

    #: Below ``docs/``.
    page: str
    #: The heading above the table. Only letters and spaces, so that every renderer makes the
    #: same anchor of it.
    title: str
    #: The module of the names that do not begin with ``turbo.``. Empty: they are global.
    module: str
    rows: tuple[Row, ...]

    @property
    def anchor(self) -> str:
        """The page and the heading, as a link writes them."""
        return f"{self.page}#{self.title.lower().replace(' ', '-')}"


def _plain(markdown: str) -> str:
    """Return the text without links, code and emphasis."""
    return re.sub(r"[`*]", "", re.sub(r"\[(.+?)\]\(.+?\)", r"\1", markdown))


def _split(cell: str) -> list[str]:
    return cell.split("; ") if cell else []
