"""The outputs of the command line: standard output, and the file of ``-o``."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import stat
import sys
from types import FrameType
from typing import BinaryIO

from .failures import CannotOpen, CannotWrite, ReaderClosed

# A signal that ends the process removes them.
_temporary_files: set[str] = set()


class StandardOutput:
    """Standard output, in binary."""

    def __init__(self) -> None:
        self._file = sys.stdout.buffer

    def write(self, data: bytes) -> None:
        """Write ``data`` at once.

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

    def commit(self) -> None:
        """Do nothing: all data is written."""

    def close(self) -> None:
        """Do nothing: the interpreter closes standard output."""


class FileOutput:
    """A file that gets its content when it is complete.

    The data goes to a temporary file in the same directory, which `commit` renames. A device or
    a pipe is written directly.

    :raises CannotOpen: for a file that cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # A symbolic link stays, and its target is replaced.
        self._target = os.path.realpath(path)
        self._temporary: str | None = None
        try:
            self._file = self._open()
        except OSError as error:
            self._remove_temporary()
            raise CannotOpen(path, error) from None

    def _open(self) -> BinaryIO:
        if not os.path.basename(self._path):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        try:
            mode = os.stat(self._path).st_mode
        except FileNotFoundError:
            return self._open_temporary()
        if not stat.S_ISREG(mode):
            return open(self._path, "wb")
        # A file without write permission could be replaced, but the user has protected it.
        os.close(os.open(self._path, os.O_WRONLY))
        file = self._open_temporary()
        # Not every file system has permissions.
        with contextlib.suppress(OSError):
            os.chmod(file.name, mode & 0o777)
        return file

    def _open_temporary(self) -> BinaryIO:
        name = f".turbo_tornado-{secrets.token_hex(8)}.part"
        self._temporary = os.path.join(os.path.dirname(self._target), name)
        _temporary_files.add(self._temporary)
        return open(self._temporary, "xb")

    def write(self, data: bytes) -> None:
        """Write ``data``.

        :raises CannotWrite: for example if the disk is full.
        """
        try:
            _write_all(self._file, data)
        except OSError as error:
            raise CannotWrite(self._path, error) from None

    def commit(self) -> None:
        """Give the file its name.

        :raises CannotWrite: if the last data cannot be written, or the file cannot be renamed.
        """
        try:
            self._file.close()
            if self._temporary is not None:
                os.replace(self._temporary, self._target)
        except OSError as error:
            raise CannotWrite(self._path, error) from None

    def close(self) -> None:
        """Remove the temporary file, unless `commit` has renamed it."""
        # The buffer can have data that the disk has no space for.
        with contextlib.suppress(OSError):
            self._file.close()
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            _temporary_files.discard(self._temporary)


Output = StandardOutput | FileOutput


def open_output(path: str | None) -> Output:
    """Return the output for a value of ``-o``.

    :raises CannotOpen: for a file that cannot be written.
    """
    return StandardOutput() if path in (None, "-") else FileOutput(path)


def _write_all(file: BinaryIO, data: bytes) -> None:
    # Unbuffered standard output can write less than it is given.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def remove_temporary_files_on_signals() -> None:
    """Let signals end the process at once, without temporary files that remain.

    ``KeyboardInterrupt`` would be lost in a callback of libcurl.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_process)


def _end_process(number: int, frame: FrameType | None) -> None:
    for path in _temporary_files:
        with contextlib.suppress(OSError):
            os.unlink(path)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
