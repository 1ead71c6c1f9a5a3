"""Callbacks of the caller: their exceptions are not network failures."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any

from ..failures import CallerError

#: Called with a chunk of the body. The result can be awaitable, or anything else.
StreamingCallback = Callable[[bytes], Any]
#: The same, but the result is a `PendingCall` or ``None``.
ChunkHandler = Callable[[bytes], "PendingCall | None"]


class _CallerErrors:
    # Not a generator: from Python 3.12 on, its frames would be in a cycle with the exception.

    def __enter__(self) -> None:
        """Begin the caller's code."""

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise a `CallerError` for an exception."""
        if isinstance(error, StopIteration):
            # As in a coroutine (PEP 479): a future cannot have a StopIteration as its exception.
            raise CallerError(_without_stop(error)) from error
        if isinstance(error, Exception):
            raise CallerError(error) from error


_CALLER_ERRORS = _CallerErrors()


def caller_errors() -> _CallerErrors:
    """Turn an exception of the caller's code into a `CallerError`.

    A `CancelledError` stays as it is: the task that it ends is then a cancelled one, and not
    one that has failed.
    """
    return _CALLER_ERRORS


def _without_stop(stop: StopIteration) -> RuntimeError:
    error = RuntimeError("the caller's code raised StopIteration")
    error.__cause__ = stop
    return error


def handler_of(callback: StreamingCallback) -> ChunkHandler:
    """Return a wrapper of ``callback`` that raises its exceptions as `CallerError`."""

    def handle(chunk: bytes) -> PendingCall | None:
        with caller_errors():
            result = callback(chunk)
        # Functions such as the ``write`` of a file return a number.
        return PendingCall(result) if inspect.isawaitable(result) else None

    return handle


class PendingCall:
    """The awaitable result of a callback, which raises `CallerError`."""

    def __init__(self, result: Awaitable[Any]) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait(self._result).__await__()

    async def _wait(self, result: Awaitable[Any]) -> None:
        with caller_errors():
            await result

    def close(self, task: object = None) -> None:
        """End a call whose task was cancelled before it began.

        Python warns about a coroutine that was never awaited.
        """
        if inspect.iscoroutine(self._result):
            self._result.close()
        elif asyncio.isfuture(self._result):
            self._result.cancel()
