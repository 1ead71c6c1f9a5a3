"""Callbacks of the caller: their exceptions are not network failures."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..failures import CallerError

#: Called with a chunk of the body. The result can be awaitable, or anything else.
StreamingCallback = Callable[[bytes], Any]
#: The same, with a result that is awaitable or ``None``.
ChunkHandler = Callable[[bytes], "Awaitable[None] | None"]


@contextlib.contextmanager
def caller_errors() -> Iterator[None]:
    """Turn an exception of the caller's code into a `CallerError`."""
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        raise CallerError(error) from error


def handler_of(callback: StreamingCallback) -> ChunkHandler:
    """Return a wrapper of ``callback`` that raises its exceptions as `CallerError`."""

    def handle(chunk: bytes) -> Awaitable[None] | None:
        with caller_errors():
            result = callback(chunk)
        # Functions such as the ``write`` of a file return a number.
        return _await(result) if inspect.isawaitable(result) else None

    return handle


async def _await(result: Awaitable[Any]) -> None:
    with caller_errors():
        await result
