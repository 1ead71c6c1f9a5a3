"""``python -m tests.support.keyword_table``: writes the keyword table of docs/guide/fetch.md."""

from __future__ import annotations

import json
from pathlib import Path

from turbo_tornado.request.keywords import KEYWORDS, Keyword

from .generated import GeneratedPart

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "fetch.md"
PART = GeneratedPart("The table of keywords")


def table() -> str:
    """Return the table of `KEYWORDS` in Markdown."""
    lines = ["", "| keyword | type | default | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {keyword.type} | {_default(keyword)} | {keyword.meaning} |"
        for name, keyword in KEYWORDS.items()
    ]
    return "\n".join([*lines, ""])


def _default(keyword: Keyword) -> str:
    default = keyword.default
    if default is None:
        return ""
    if isinstance(default, str):
        return f"`{json.dumps(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


if __name__ == "__main__":
    PART.write(PAGE, table())
