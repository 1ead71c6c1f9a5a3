"""The prose of the project: pages, docstrings and comments without the words of `RULES`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.prose import ROOT, in_markdown, in_other_files, in_python, unintroduced

FOLDERS = ("turbo_tornado", "examples", "benchmarks", "docs", "tests")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)
MODULES = sorted(
    path
    for pattern in ("setup.py", *(f"{name}/**/*.py" for name in FOLDERS))
    for path in ROOT.glob(pattern)
)
OTHER_FILES = sorted(
    path
    for pattern in (
        *(".ci/*", "tox.ini", "pyproject.toml", ".pre-commit-config.yaml"),
        *(f"{name}/**/*.{suffix}" for name in FOLDERS for suffix in ("lua", "conf", "js", "txt")),
    )
    for path in ROOT.glob(pattern)
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page(page: Path) -> None:
    violations = [line for passage in in_markdown(page) for line in passage.violations()]
    assert not violations, "\n".join(violations)


#: Parts of pages, and pages that include a file.
PARTS = ("table.md", "changelog.md", "security.md")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in PARTS], ids=name_of)
def test_page_has_introductions(page: Path) -> None:
    assert not unintroduced(page)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_docstrings_and_comments(module: Path) -> None:
    violations = [line for passage in in_python(module) for line in passage.violations()]
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize("path", OTHER_FILES, ids=name_of)
def test_comments_of_other_files(path: Path) -> None:
    violations = [line for passage in in_other_files(path) for line in passage.violations()]
    assert not violations, "\n".join(violations)


PAGE = """# What raises

A space is no
token, but `is no token`. There is no limit. It is no longer so. What is it?

```text
nobody
```

- What is sent.
- [What raises](page.md)

| What |
|---|
| of its own |
"""
MODULE = '''"""Nobody is here.

    >>> nobody

:arg bool kept: `kept` and ``kept``::

    kept


The end is kept.
"""

def kept() -> str:
    # Of the one,
    # beside another.
    return "kept"  # kept
'''


def test_violations_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = [line for passage in in_markdown(page) for line in passage.violations()]
    assert [line.partition(" ")[0].rpartition("/")[2] for line in found] == [
        "page.md:3:",
        "page.md:10:",
        "page.md:15:",
    ]
    assert found[1] == f"{page}:10: 'What'; write: subject, active verb, object"


def test_unintroduced_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```sh\nls\n```\n\n```text\nfile\n```\n\n## More\n\n```sh\nls\n```\n"
    )
    assert unintroduced(page) == [
        "the first heading has no sentence after it",
        "line 3: no sentence introduces the code",
        "line 13: no sentence introduces the code",
    ]
    page.write_text("# Title\n\nA sentence.\n\n```sh\nls\n```\n\n```text\nfile\n```\n")
    assert not unintroduced(page)


def test_violations_of_a_module(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(MODULE)
    found = [line for passage in in_python(module) for line in passage.violations()]
    assert [line.partition(";")[0].rpartition("/")[2] for line in found] == [
        "module.py:1: 'Nobody'",
        "module.py:10: 'kept'",
        "module.py:14: 'Of'",
        "module.py:15: 'beside'",
        "module.py:16: 'kept'",
    ]


def test_violations_of_another_file(tmp_path: Path) -> None:
    path = tmp_path / "tox.ini"
    path.write_text("# Of the one,\n# beside another.\ndescription = is no test\nkept = 1\n")
    found = [line for passage in in_other_files(path) for line in passage.violations()]
    assert [line.partition(";")[0].rpartition("/")[2] for line in found] == [
        "tox.ini:1: 'Of'",
        "tox.ini:2: 'beside'",
        "tox.ini:3: 'is no '",
    ]
