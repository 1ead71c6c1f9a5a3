"""Request bodies that are read while they are sent: files and iterables."""

from __future__ import annotations

import asyncio
import errno
import inspect
import io
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol

from ..failures import CallerError, InvalidBody
from .callbacks import caller_errors

_BLOCK_SIZE = 65536
# After this many bytes to a fast peer, other callbacks of the loop run.
_TURN_SIZE = 1048576
_END = object()

#: Sends one block. The result is done when the next block can be sent.
Write = Callable[[bytes], Awaitable[None]]


class StreamedBody(Protocol):
    """A request body that is read while it is sent."""

    #: The number of bytes; ``None`` if it is unknown.
    @property
    def length(self) -> int | None: ...

    #: The blocks of the body, if they can be read more than once.
    @property
    def blocks(self) -> Iterable[bytes] | None: ...

    async def produce(self, write: Write) -> None:
        """Send the body with ``write``.

        :raises InvalidBody: for a body that cannot be read.
        :raises CallerError: for an exception of the caller's iterable.
        """


def streamed_body(value: object) -> StreamedBody | None:
    """Return the body for an open file or an iterable, ``None`` for any other value.

    :raises InvalidBody: for a file in text mode or one that is not seekable, and for an
        iterable that cannot be a body.
    """
    read = getattr(value, "read", None)
    if callable(read) and not inspect.iscoroutinefunction(read):
        return FileBody(value)
    if isinstance(value, Mapping):
        kind = type(value).__name__
        raise InvalidBody(f"the body cannot be a mapping ({kind}); use json, params or files")
    if isinstance(value, (list, tuple)):
        for block in value:
            _checked(block, f"{type(value).__name__} of the body contains")
    if hasattr(value, "__aiter__") or hasattr(value, "__iter__"):
        return IterableBody(value)
    return None


class FileBody:
    """The rest of a file that is open for reading in binary mode."""

    def __init__(self, file: Any) -> None:
        if isinstance(file, io.TextIOBase):
            raise InvalidBody(f"{name_of(file)} is open in text mode; open it in binary mode")
        self._file: BinaryIO = file
        self._position, self.length = measure(file)

    @property
    def blocks(self) -> Iterable[bytes]:
        return self

    def __iter__(self) -> Iterator[bytes]:
        return blocks_of(self._file, self._position, self.length)

    async def produce(self, write: Write) -> None:
        await send_blocks(self, write)


class IterableBody:
    """The blocks of an iterable or an async iterable."""

    length = None
    blocks = None

    def __init__(self, iterable: Any) -> None:
        if (inspect.isgenerator(iterable) and iterable.gi_frame is None) or (
            inspect.isasyncgen(iterable) and iterable.ag_frame is None
        ):
            raise InvalidBody("the generator of the body is exhausted; create another one")
        self._iterable = iterable

    async def produce(self, write: Write) -> None:
        if not hasattr(self._iterable, "__aiter__"):
            await send_blocks(self, write)
            return
        with caller_errors():
            iterator = aiter(self._iterable)
        try:
            while True:
                with caller_errors():
                    block = await anext(iterator, _END)
                if block is _END:
                    return
                await write(_checked(block))
        finally:
            if inspect.isasyncgen(iterator):
                with caller_errors():
                    await iterator.aclose()

    def __iter__(self) -> Iterator[bytes]:
        with caller_errors():
            iterator = iter(self._iterable)
        try:
            while True:
                with caller_errors():
                    block = next(iterator, _END)
                if block is _END:
                    return
                yield _checked(block)
        finally:
            if inspect.isgenerator(iterator):
                with caller_errors():
                    iterator.close()


async def send_blocks(blocks: Iterable[bytes], write: Write) -> None:
    """Send blocks that are read without waiting."""
    size = 0
    iterator = iter(blocks)
    try:
        for block in iterator:
            await write(block)
            size += len(block)
            if size >= _TURN_SIZE:
                size = 0
                await asyncio.sleep(0)
    finally:
        iterator.close()  # type: ignore[attr-defined]


def _checked(block: Any, where: str = "iterable of the body yields") -> bytes:
    if type(block) is bytes:
        return block
    try:
        return bytes(memoryview(block))
    except (TypeError, ValueError, BufferError):
        kind = type(block).__name__
        raise InvalidBody(f"the {where} {kind}, not bytes") from None


def measure(file: BinaryIO) -> tuple[int, int]:
    """Return the position in a file and the number of bytes after it.

    :raises InvalidBody: for a file that is not readable or not seekable, and for one that has more
        bytes than its size, such as a device.
    """
    try:
        readable = getattr(file, "readable", None)
        is_readable = not callable(readable) or readable()
        position = file.tell()
        file.seek(0, os.SEEK_END)
        size = file.tell() - position
        file.seek(position)
        has_more = False
        if is_readable and size <= 0:
            has_more = bool(file.read(1))
            file.seek(position)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise unreadable(file, error) from None
    if not is_readable:
        raise InvalidBody(f"{name_of(file)} is not open for reading")
    if has_more:
        raise sizeless(file)
    return position, max(0, size)


def blocks_of(file: BinaryIO, position: int, size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes of a file in blocks.

    The position of the file does not change. A retry by the caller therefore sends the same
    bytes, and concurrent requests do too.

    :raises InvalidBody: for a file that cannot be read or has become shorter.
    """
    start, end = position, position + size
    while position < end:
        try:
            file.seek(position)
            block = file.read(min(end - position, _BLOCK_SIZE))
            file.seek(start)
        except (OSError, ValueError) as error:
            # ValueError: the file has been closed.
            raise unreadable(file, error) from None
        except Exception as error:
            raise CallerError(error) from error
        if not isinstance(block, bytes) or len(block) > end - position:
            raise InvalidBody(f"{name_of(file)} does not return bytes of the given size")
        if not block:
            raise InvalidBody(f"{name_of(file)} has become shorter while it was sent")
        position += len(block)
        yield block


def unreadable(content: object, error: Exception) -> InvalidBody:
    """Return the failure for a file that cannot be read.

    :arg content: the file, or its path.
    """
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    if isinstance(error, OSError) and error.errno in (None, errno.ESPIPE):
        reason = f"{reason}; if it is not seekable, use an async iterable of its blocks"
    return InvalidBody(f"cannot read {name_of(content)}: {reason}")


def sizeless(content: object) -> InvalidBody:
    """Return the failure for a file with more bytes than its size of 0: a device.

    :arg content: the file, or its path.
    """
    return InvalidBody(f"{name_of(content)} has no size; pass its content as bytes")


def name_of(content: object) -> str:
    """Return the name of a file for a message."""
    name = content if isinstance(content, str) else getattr(content, "name", None)
    return name if isinstance(name, str) else "the file"
