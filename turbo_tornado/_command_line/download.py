"""`Download`: writes a response, and shows the progress of ``-o``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from .. import HTTPHeaders, HTTPResponse, RequestEvent
from ..http1.head import Head
from .output import FileOutput, Output, StandardOutput
from .progress import Progress, start_progress


class Download:
    """Writes the body of a response to an output.

    :arg bool include: write the status line and the headers to standard output.
    """

    def __init__(self, output: Output, include: bool) -> None:
        self._output = output
        self._include = include
        self._head: Head | None = None
        # On one terminal, the progress and the body would be mixed.
        has_terminal = isinstance(output, FileOutput) or not sys.stdout.isatty()
        self._shows_progress = has_terminal and sys.stderr.isatty()
        self._progress: Progress | None = None

    def on_request(self, event: RequestEvent) -> None:
        """Make the head of the response known before its body; a hook."""
        request = event._request
        request.on_head = functools.partial(self._on_head, request.on_head)

    def _on_head(self, keeps_body: Callable[[Head], bool] | None, head: Head) -> bool:
        self._head = head
        return keeps_body is None or keeps_body(head)

    def on_chunk(self, chunk: bytes) -> None:
        """Write a chunk of the body; a ``streaming_callback``.

        :raises CannotWrite, ReaderClosed: as the output.
        """
        if isinstance(self._output, StandardOutput):
            self._write_head(self._head)
        self._output.write(chunk)
        if self._shows_progress:
            if self._progress is None:
                self._progress = start_progress(self._total)
            self._progress.update(len(chunk))

    @property
    def _total(self) -> int | None:
        """The number of bytes of the decoded body, if it is known."""
        head = self._head
        return None if head is None or head.gzip else head.content_length

    def finish(self, response: HTTPResponse) -> None:
        """Write what the output does not have.

        :raises CannotWrite, ReaderClosed: as the outputs.
        """
        self.close()
        self._output.commit()
        self._write_head(response)
        StandardOutput().write(response.body)

    def _write_head(self, head: Head | HTTPResponse | None) -> None:
        if self._include and head is not None:
            self._include = False
            StandardOutput().write(_head_text(head.code, head.reason, head.headers))

    def close(self) -> None:
        """End the line of the progress."""
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.close()


def _head_text(code: int, reason: str, headers: HTTPHeaders) -> bytes:
    lines = "".join(f"{name}: {value}\n" for name, value in headers.get_all())
    return f"{headers.get_version()} {code} {reason}\n{lines}\n".encode("latin-1")
