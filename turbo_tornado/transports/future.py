"""`FetchFuture`: a future whose cancellation stops what it waits for, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

#: What stops a request.
Abort = Callable[[], None]
T = TypeVar("T")


class FetchFuture(asyncio.Future[T]):
    """The future of a request.

    A done callback would hear of the cancellation only in the next iteration of the
    loop; until then a connection could still take part in something.

    .. attribute:: abort

       What `cancel` calls, once; to be dropped when the request has ended.
    """

    abort: Abort | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        abort, self.abort = self.abort, None
        if abort is not None:
            abort()
        return True
