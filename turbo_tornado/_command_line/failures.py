"""The failures of the command line that are not an error of the fetch."""

from __future__ import annotations


class FileFailure(Exception):
    """A failure of a file; the message has its name and the cause."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"{name}: {error.strerror or error}")


class CannotOpen(FileFailure):
    """A file cannot be opened. Nothing has been sent."""


class CannotWrite(FileFailure):
    """The response cannot be written."""


class ReaderClosed(Exception):
    """The reader of standard output has closed the pipe."""
