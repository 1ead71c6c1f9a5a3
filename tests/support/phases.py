"""Timeouts that must expire in a certain phase of a fetch.

If the machine stops the process, a short timeout can expire in an earlier phase. The test then
does not check anything, and is repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any

_ATTEMPTS = 5


class TooEarly(AssertionError):
    """The timeout has expired before the phase of the test."""


def in_phase(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Repeat a test that raises `TooEarly`."""

    @functools.wraps(test)
    async def repeated(*args: Any, **kwargs: Any) -> None:
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(TooEarly):
                return await test(*args, **kwargs)
        await test(*args, **kwargs)

    return repeated


def require_phase(is_reached: object) -> None:
    """Raise `TooEarly` unless the fetch has reached the phase of the test."""
    if not is_reached:
        raise TooEarly


async def wait_for_phase(reached: asyncio.Event, future: asyncio.Future[Any]) -> None:
    """Wait until ``reached`` is set; raise `TooEarly` if the fetch ends before."""
    waiting = asyncio.ensure_future(reached.wait())
    await asyncio.wait({waiting, future}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    require_phase(reached.is_set())
