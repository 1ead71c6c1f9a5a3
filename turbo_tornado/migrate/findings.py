"""Checks a program for names of Turbo.lua and for patterns to look at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .lua import parse
from .resolver import Resolver


class Finding(NamedTuple):
    """One thing to change, or to look at."""

    line: int
    name: str
    replacement: str
    #: The page and the heading, below ``docs/``.
    anchor: str

    def written(self, file: str) -> str:
        """Return the line of the report."""
        return f"{file}:{self.line}: {self.name} -> {self.replacement} ({self.anchor})"


def check(source: str) -> list[Finding]:
    """Check the source of a program.

    :returns: the findings, in the order of their lines.
    :raises LuaSyntaxError: for an invalid program.
    """
    # The same name twice on a line is one finding.
    found: dict[Finding, None] = {}
    Resolver(lambda *finding: found.setdefault(Finding(*finding))).run(parse(source))
    return sorted(found, key=lambda finding: finding.line)


def files_of(paths: Iterable[str]) -> list[Path]:
    """Return the Lua files for these paths, including all files below a directory."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.lua")) if path.is_dir() else [path]
    return files


def check_file(path: Path) -> list[Finding]:
    """Check a file, see `check`.

    :raises OSError: if the file cannot be read.
    """
    data = path.read_bytes()
    try:
        return check(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        # A string of Lua can hold any bytes.
        return check(data.decode("latin-1"))
