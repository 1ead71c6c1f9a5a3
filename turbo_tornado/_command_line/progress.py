"""`Progress`: the number of bytes received, on the terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import Protocol

_INTERVAL = 0.1


class Progress(Protocol):
    """Shows the number of bytes received."""

    def update(self, size: int, /) -> object:
        """Add ``size`` to the number."""

    def close(self) -> object:
        """Show the number a last time, and end the line."""


class PlainProgress:
    """The progress as a number, without tqdm.

    :arg total: the number of bytes, if it is known.
    """

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._size = 0
        self._shown_at = -math.inf

    def update(self, size: int, /) -> None:
        self._size += size
        now = time.monotonic()
        if now - self._shown_at >= _INTERVAL:
            self._shown_at = now
            self._show("")

    def close(self) -> None:
        self._show("\n")

    def _show(self, end: str) -> None:
        # The text never becomes shorter, so that it covers the previous one.
        text = f"{self._size:,} bytes"
        if self._total:
            text = f"{self._size:,} of {self._total:,} bytes, {100 * self._size // self._total} %"
        sys.stderr.write(f"\r{text}{end}")
        sys.stderr.flush()


def start_progress(total: int | None) -> Progress:
    """Return a progress bar, or a plain progress if tqdm is not installed.

    :arg total: the number of bytes, if it is known.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return PlainProgress(total)
    bar: Progress = tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024)
    return bar
