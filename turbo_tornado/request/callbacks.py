"""Callbacks of the caller: their exceptions are not network failures."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

from ..failures import CallerError

#: Called with a chunk of the body. The result can be awaitable, or anything else.
StreamingCallback = Callable[[bytes], Any]
#: The same, but the result is a `PendingCall` or ``None``.
ChunkHandler = Callable[[bytes], "PendingCall | None"]


@contextlib.contextmanager
def caller_errors() -> Iterator[None]:
    """Turn an exception of the caller's code into a `CallerError`.

    A `CancelledError` stays as it is: the task that it ends is then a cancelled one, and not
    one that has failed.
    """
    try:
        yield
    except StopIteration as stop:
        # As in a coroutine (PEP 479): a future cannot have a StopIteration as its exception.
        raise CallerError(_without_stop(stop)) from stop
    except Exception as error:
        raise CallerError(error) from error


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
