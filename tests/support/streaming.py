"""Callbacks and waits for the tests of streamed bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


def collector(chunks: list[bytes], is_async: bool) -> Callable[[bytes], Any]:
    """Return a ``streaming_callback`` that appends to ``chunks``."""

    async def append(chunk: bytes) -> None:
        await asyncio.sleep(0)
        chunks.append(chunk)

    return append if is_async else chunks.append


class WaitingCallback:
    """A ``streaming_callback`` that waits until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, chunk: bytes) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def steady(count: Callable[[], int]) -> None:
    """Wait until a count has begun and does not grow: the buffers of the kernel are full."""
    before = 0
    while not before or count() != before:
        before = count()
        await asyncio.sleep(0.2)
