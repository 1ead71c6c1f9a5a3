"""`StandardOutput`: where the command line writes the response."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from .failures import CannotWrite, ReaderClosed


class StandardOutput:
    """Standard output, in binary."""

    def __init__(self) -> None:
        self._file = sys.stdout.buffer

    def write(self, data: bytes) -> None:
        """Writes ``data`` at once.

        :raises ReaderClosed: if the reader has closed the pipe.
        :raises CannotWrite: for any other failure.
        """
        try:
            _write_all(self._file, data)
            self._file.flush()
        except OSError as error:
            # Without this, the interpreter fails as well when it flushes standard output at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise ReaderClosed from None
            raise CannotWrite("standard output", error) from None


def _write_all(file: BinaryIO, data: bytes) -> None:
    # Unbuffered standard output can write less than it is given.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
