"""Parts of a page that are generated: the text between two markers."""

from __future__ import annotations

from pathlib import Path


class GeneratedPart:
    """The part of a page between two markers, which are HTML comments.

    :arg str title: the words of the markers.
    """

    def __init__(self, title: str) -> None:
        self._begin = f"<!-- {title}: begin -->\n"
        self._end = f"<!-- {title}: end -->\n"

    def read(self, path: Path) -> str:
        """Return the part of this page."""
        after = path.read_text(encoding="utf-8").partition(self._begin)[2]
        return after.partition(self._end)[0].removesuffix("\n")

    def write(self, path: Path, text: str) -> None:
        """Replace the part in this page."""
        before, _, rest = path.read_text(encoding="utf-8").partition(self._begin)
        after = rest.partition(self._end)[2]
        page = f"{before}{self._begin}{text}\n{self._end}{after}"
        path.write_text(page, encoding="utf-8")
