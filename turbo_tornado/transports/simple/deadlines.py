"""`Deadlines`: the request timeouts and idle timeouts of a transport."""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Deadlines:
    """Deadlines in groups of equal length, with one timer of the loop.

    Deadlines of equal length expire in the order in which they were added, so that only the
    first one of each group matters. A timer of the loop for each request would cost as much
    as parsing its response.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: The clock of the deadlines.
        self.time = loop.time
        # By length in seconds: item -> time and callback.
        self._groups: dict[float, dict[Any, tuple[float, Callable[[Any], None]]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, item: Item, seconds: float, callback: Callable[[Item], None]) -> None:
        """Call ``callback(item)`` after ``seconds``.

        It is called even if another callback has ended the item at the same time.
        """
        deadline = self.time() + seconds
        group = self._groups.get(seconds)
        if group is None:
            group = self._groups[seconds] = {}
            if self._timer is None or deadline < self._timer_at:
                self._set_timer(deadline)
        group[item] = (deadline, callback)

    def discard(self, item: Hashable, seconds: float) -> None:
        """Remove a deadline that was added with the same ``seconds``, if it is there."""
        group = self._groups.get(seconds)
        if group is None:
            return
        group.pop(item, None)
        if not group:
            del self._groups[seconds]
            if not self._groups:
                self.close()

    def close(self) -> None:
        """Remove all deadlines."""
        self._groups.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._expire)
        self._timer_at = when

    def _expire(self) -> None:
        self._timer = None
        now = self.time()
        expired = [
            (deadline, item, seconds, callback)
            for seconds, group in self._groups.items()
            for item, (deadline, callback) in itertools.takewhile(
                lambda pair: pair[1][0] <= now, group.items()
            )
        ]
        # If the loop is late, deadlines of several groups can have expired.
        expired.sort(key=operator.itemgetter(0))
        for _, item, seconds, callback in expired:
            self.discard(item, seconds)
            self._loop.call_soon(callback, item)
        if self._groups:
            self._set_timer(min(next(iter(group.values()))[0] for group in self._groups.values()))
