"""The loop of a transport: `asyncio_loop`, and `close_with_loop` for its end."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

WaitClosed = Callable[[], Coroutine[Any, Any, None]]


class BelongsToLoop(Protocol):
    """An object that must be closed before its loop."""

    def fail_requests(self) -> None:
        """Close the object at once, because nothing finishes after the end of the loop."""

    @property
    def wait_closed(self) -> WaitClosed | None:
        """Wait until the requests that `fail_requests` has failed have been reported.

        ``None`` if the loop need not run for that.
        """


def asyncio_loop(io_loop: Any) -> asyncio.AbstractEventLoop:
    """Return the asyncio loop of an `IOLoop`; Tornado does not declare its type."""
    return io_loop.asyncio_loop  # type: ignore[no-any-return]


# Weak in both directions, so that both objects can be collected.
_members: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[BelongsToLoop]] = (
    weakref.WeakKeyDictionary()
)


def close_with_loop(loop: asyncio.AbstractEventLoop, member: BelongsToLoop) -> None:
    """Close ``member`` together with ``loop``, unless it is dropped before."""
    members = _members.get(loop)
    if members is None:
        members = _members[loop] = weakref.WeakSet()
        _wrap_close(loop, members)
    members.add(member)


def _wrap_close(loop: Any, members: weakref.WeakSet[BelongsToLoop]) -> None:
    # Neither asyncio nor Tornado has a callback for the end of a loop. Both ways to close a loop
    # call this method of the asyncio loop.
    original = loop.close

    def close() -> None:
        try:
            if not loop.is_running() and not loop.is_closed():
                _close(loop, list(members))
        finally:
            original()

    loop.close = close


def _close(loop: asyncio.AbstractEventLoop, members: list[BelongsToLoop]) -> None:
    for member in members:
        member.fail_requests()
    waits = [member.wait_closed for member in members if member.wait_closed is not None]
    # A loop can be closed by a callback of another loop.
    if waits and asyncio._get_running_loop() is None:
        loop.run_until_complete(_run_all(waits))


async def _run_all(waits: list[WaitClosed]) -> None:
    for wait_closed in waits:
        await wait_closed()


def _drop_inherited() -> None:
    # A forked child can close a loop of its parent, but must not close its connections.
    for members in _members.values():
        members.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=_drop_inherited)
