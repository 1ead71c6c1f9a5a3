"""The table of modules in docs/design.md: imports point downwards."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "turbo_tornado"
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
#: A constant, which any module can import.
ANYWHERE = {"_version.py"}


@cache
def rows() -> list[list[str]]:
    """Return the paths in the first column of the table, row by row."""
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    table = text.partition("| module | contents |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = []
    for line in table.splitlines():
        folder, names = "", []
        for name in re.findall(r"`([\w/.]+)`", line.split("|")[1]):
            folder = name.rpartition("/")[0] if "/" in name else folder
            names.append(name if "/" in name or not folder else f"{folder}/{name}")
        rows.append(names)
    return rows


def row_of(file: str) -> int:
    found = [
        number
        for number, names in enumerate(rows())
        if any(file == name or (name.endswith("/") and file.startswith(name)) for name in names)
    ]
    assert len(found) == 1, f"{file} is in {len(found)} rows"
    return found[0]


def imports_of(file: str) -> Iterator[str]:
    """Yield the files of the package that a module imports when it runs."""
    path = PACKAGE / file
    body = ast.parse(path.read_text("utf-8"))
    checked = [
        node
        for node in ast.walk(body)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    ignored = {id(inner) for node in checked for inner in ast.walk(node)}
    for node in ast.walk(body):
        if not isinstance(node, ast.ImportFrom) or not node.level or id(node) in ignored:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for alias in node.names:
            found = file_of(base / alias.name) or file_of(base)
            assert found, f"{file}:{node.lineno}"
            yield found


def file_of(module: Path) -> str | None:
    for path in (module.with_suffix(".py"), module / "__init__.py"):
        if path.is_file():
            return str(path.relative_to(PACKAGE))
    return None


@pytest.mark.parametrize(
    "file", [file for file in FILES if file not in {*ANYWHERE, "transports/__init__.py"}]
)
def test_imports_point_downwards(file: str) -> None:
    row = row_of(file)
    for imported in imports_of(file):
        if imported not in ANYWHERE:
            assert row_of(imported) >= row, f"{file} imports {imported}"


def test_imports_have_no_cycle() -> None:
    # Raises CycleError.
    TopologicalSorter({file: set(imports_of(file)) for file in FILES}).prepare()


def test_names_of_the_design_exist() -> None:
    page = (ROOT / "docs" / "design.md").read_text("utf-8")
    table = page.partition("## Where to find things")[2].partition("## Modules")[0]
    spans = [span for span in re.findall(r"`([\w.]+)`", table) if not span.endswith(".py")]
    assert len(spans) > 10
    source = "".join((PACKAGE / file).read_text("utf-8") for file in FILES)
    names = {span.rpartition(".")[2] for span in spans}
    assert not {name for name in names if not re.search(rf"\b{name}\b", source)}
