"""The site in Chromium, on a laptop and on a phone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import browser
from tests.support.browser import Measured
from tests.support.missing import missing

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("sphinx", "furo", "myst_parser")),
        reason="Sphinx is not installed; the environment 'docs' of tox has it",
    ),
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parent.parent
LAPTOP, PHONE = 1360, 390


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    if browser.CHROMIUM is None:
        missing("chromium")
    folder = tmp_path_factory.mktemp("site")
    site = folder / "html"
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", ROOT / "docs", site],
        check=True,
        timeout=200,
    )
    pages = sorted(str(page.relative_to(site)) for page in site.rglob("*.html"))
    return browser.measure(site, pages, [LAPTOP, PHONE], folder / "profile")


def test_all_pages_are_measured(measured: list[Measured]) -> None:
    pages = {f"{path.relative_to(ROOT / 'docs').with_suffix('.html')}" for path in pages_of_docs()}
    for width in (LAPTOP, PHONE):
        assert pages <= {page.page for page in measured if page.width == width}


def pages_of_docs() -> list[Path]:
    folders = (ROOT / "docs" / name for name in (".", "guide", "migration"))
    return [path for folder in folders for path in folder.glob("*.md")]


def test_no_page_scrolls_sideways(measured: list[Measured]) -> None:
    assert not [(page.page, page.width, page.excess) for page in measured if page.excess > 0]


def test_tables_and_code_are_complete(measured: list[Measured]) -> None:
    assert not [(page.page, page.width, page.cut) for page in measured if page.cut]


def test_pairs_are_side_by_side_on_a_laptop(measured: list[Measured]) -> None:
    on_laptop = [page for page in measured if page.width == LAPTOP]
    assert not [page.page for page in on_laptop if page.stacked]


def test_code_has_a_copy_button(measured: list[Measured]) -> None:
    assert not [(page.page, page.uncopied) for page in measured if page.uncopied]


def test_output_has_a_label(measured: list[Measured]) -> None:
    assert not [(page.page, page.unlabelled) for page in measured if page.unlabelled]
