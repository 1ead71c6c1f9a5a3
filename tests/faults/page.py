"""The table in docs/faults.md: written from results, and read back."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.support.generated import GeneratedPart

from .row import Row
from .runner import Outcome
from .table import TABLE

#: The outcome of a row on a transport, or why it could not be tried.
Results = dict[tuple[Row, str], "Outcome | str"]

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
_PART = GeneratedPart("The table of faults")
_TRANSPORTS = ("simple", "curl")


def outline() -> list[tuple[str, ...]]:
    """Return the parts of the page without measurements: name, variants, codes."""
    return [
        (row.name, str(len(row.all_plays())), *(_code(row, kind) for kind in _TRANSPORTS))
        for row in TABLE
    ]


def read(path: Path = PAGE) -> list[tuple[str, ...]]:
    """Return the `outline` of a page that was written."""
    lines = _PART.read(path).splitlines()
    rows = [line[2:-2].split(" | ") for line in lines if line.startswith("| ")]
    return [
        (name, tried, *(cell.partition(",")[0].strip("`") for cell in cells))
        for name, tried, *cells in rows
        if not name.startswith("---") and tried != "variants"
    ]


def write(path: Path, results: Results) -> None:
    """Put the table into a page, between its two markers."""
    _PART.write(path, _table(results))


def cell(row: Row, transport: str, outcome: Outcome | str | None) -> str:
    """Return the outcome of a row on a transport."""
    code = f"`{_code(row, transport)}`" if transport in row.transports else "none"
    if outcome is None:
        return code
    if isinstance(outcome, str):
        return f"{code}, not tried: {outcome}"
    words = f"{code}, {outcome.slowest:.0f} ms"
    return words if outcome.growth is None else f"{words}, {outcome.growth / 2**20:.1f} MiB"


def _code(row: Row, transport: str) -> str:
    return row.expected_of(transport).name if transport in row.transports else "none"


def _table(results: Results) -> str:
    lines: list[str] = []
    reasons: list[str] = []
    for group, rows in groupby(TABLE, key=lambda row: row.group):
        lines += ["", f"## {group}", ""]
        lines += ["| fault | variants | simple | curl |", "|---|---|---|---|"]
        for row in rows:
            cells = [cell(row, kind, results.get((row, kind))) for kind in _TRANSPORTS]
            lines.append(f"| {row.name} | {len(row.all_plays())} | {cells[0]} | {cells[1]} |")
            if row.why:
                reasons.append(f"- {row.name}: {row.why}.")
    lines += ["", "## Differences between the transports", "", *reasons]
    return "\n".join(lines)
