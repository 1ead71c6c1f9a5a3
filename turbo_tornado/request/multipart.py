"""`Multipart`: the ``multipart/form-data`` body of ``files`` (RFC 7578)."""

from __future__ import annotations

import io
import mimetypes
import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote_to_bytes

from ..messages import quoted
from .checks import check_header_text, pairs_of, wrong_type
from .streamed import Write, blocks_of, measure, send_blocks, sizeless, unreadable

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Only the table of Python, because the tables of the system differ between machines.
_TYPES = mimetypes.MimeTypes()


class FilePart(NamedTuple):
    """A checked entry of ``files``."""

    #: The header lines of the part.
    head: bytes
    #: Bytes, the path of a file, or a file that is open for reading in binary mode.
    content: bytes | str | BinaryIO


def check_files(name: str, value: Any) -> list[FilePart]:
    """Return the parts of a mapping or of pairs. Opens no file."""
    return [_file_part(name, field, entry) for field, entry in pairs_of(name, value)]


def _file_part(name: str, field: Any, entry: Any) -> FilePart:
    if not isinstance(field, str):
        raise TypeError(f"{name}: a field name must be a str, not {type(field).__name__}")
    what = f"{name}[{quoted(field)}]"
    filename = content_type = None
    if isinstance(entry, (tuple, list)):
        if len(entry) not in (2, 3):
            raise TypeError(f"{what} must be (filename, content) or (filename, content, type)")
        filename, content_type = entry[0], entry[2] if len(entry) == 3 else None
        if not isinstance(filename, str):
            raise wrong_type(f"the filename of {what}", "a str", filename)
        entry = entry[1]
    content, own_name = _content(what, entry)
    if filename is None:
        filename = own_name or field
    if content_type is None:
        # Without the prefix, a name can be a URL of the scheme data, which contains a type.
        content_type = _TYPES.guess_type(f"./{filename}")[0] or "application/octet-stream"
    content_type = check_header_text(f"the content type of {what}", content_type)
    head = (
        f'Content-Disposition: form-data; name="{_quoted(name, field)}"; '
        f'filename="{_quoted(name, filename)}"\r\nContent-Type: {content_type}\r\n'
    )
    return FilePart(_encoded(name, head), content)


def _content(what: str, content: Any) -> tuple[bytes | str | BinaryIO, str | None]:
    """Return the content of a part, and the name of its file."""
    if isinstance(content, os.PathLike):
        path = os.fsdecode(content)
        return path, os.path.basename(path)
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content), None
    if isinstance(content, io.TextIOBase):
        raise TypeError(f"{what} is a file in text mode; open it in binary mode")
    if callable(getattr(content, "read", None)):
        own_name = getattr(content, "name", None)
        return content, os.path.basename(own_name) if isinstance(own_name, str) else None
    if isinstance(content, str):
        # A str can come from outside, and must not select a file.
        raise TypeError(f"{what} must not be a str; pass a pathlib.Path, or the content as bytes")
    expected = "bytes, a binary file, a pathlib.Path or a tuple with a filename"
    raise wrong_type(what, expected, content)


def _quoted(name: str, text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError(f"{name}: {quoted(text)} must not contain a control character")
    # Browsers encode the quotation mark. They treat a backslash as a part of the name.
    return text.replace('"', "%22")


def _encoded(name: str, text: str) -> bytes:
    try:
        # A file name that is not UTF-8 is sent as its bytes.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        bad = text[error.start]
        raise ValueError(f"{name} must be encodable as UTF-8, and contains {bad!r}") from None


class Multipart:
    """A `StreamedBody` of fields and files.

    :arg fields: the percent-encoded form, as `check_params` returns it.
    :arg files: the parts, as `check_files` returns them.
    :raises InvalidBody: for a file that is missing or not seekable.
    :raises ValueError: for a control character in the name of a field.
    """

    def __init__(self, fields: str | None, files: Iterable[FilePart]) -> None:
        self._boundary = os.urandom(16).hex()
        # A head, the content, the position in a file, and the number of bytes.
        self._parts: list[tuple[bytes, bytes | str | BinaryIO, int, int]] = []
        for pair in fields.split("&") if fields else ():
            field, _, value = pair.partition("=")
            self._add(_field_head(field), unquote_to_bytes(value))
        for part in files:
            self._add(*part)
        self._end = f"--{self._boundary}--\r\n".encode()
        #: The number of bytes of the body.
        self.length = len(self._end) + sum(len(p[0]) + p[3] + 2 for p in self._parts)

    @property
    def content_type(self) -> str:
        """The value of the Content-Type header."""
        return f"multipart/form-data; boundary={self._boundary}"

    def _add(self, head: bytes, content: bytes | str | BinaryIO) -> None:
        position, size = 0, 0
        if isinstance(content, bytes):
            size = len(content)
        elif isinstance(content, str):
            size = _size_of(content)
        else:
            position, size = measure(content)
        head = b"--%b\r\n%b\r\n" % (self._boundary.encode(), head)
        self._parts.append((head, content, position, size))

    @property
    def blocks(self) -> Iterable[bytes]:
        return self

    async def produce(self, write: Write) -> None:
        await send_blocks(self, write)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks of the body.

        :raises InvalidBody: for a file that has vanished or has become shorter.
        """
        for head, content, position, size in self._parts:
            yield head
            if isinstance(content, bytes):
                yield content
            elif isinstance(content, str):
                try:
                    file = open(content, "rb")  # noqa: SIM115
                except OSError as error:
                    raise unreadable(content, error) from None
                with file:
                    yield from blocks_of(file, 0, size)
            else:
                yield from blocks_of(content, position, size)
            yield b"\r\n"
        yield self._end


def _field_head(field: str) -> bytes:
    name = unquote_to_bytes(field).decode("utf-8", "surrogateescape")
    head = f'Content-Disposition: form-data; name="{_quoted("params", name)}"\r\n'
    return _encoded("params", head)


def _size_of(path: str) -> int:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            # To open a named pipe would block the loop.
            raise OSError("it is not a regular file")
        has_more = False
        if not status.st_size:
            with open(path, "rb") as file:
                has_more = bool(file.read(1))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if has_more:
        raise sizeless(path)
    return status.st_size
