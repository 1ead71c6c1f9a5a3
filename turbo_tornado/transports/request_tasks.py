"""`RequestTasks`: the tasks of one request."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from tornado.simple_httpclient import HTTPStreamClosedError

#: Runs a coroutine as a task of a request.
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


def without_cancellation(error: BaseException) -> BaseException:
    """Return a failure instead of the cancellation of a task."""
    if isinstance(error, asyncio.CancelledError):
        return HTTPStreamClosedError("a task of the request was cancelled")
    return error


class RequestTasks:
    """Tasks that end with their request.

    :arg loop: the loop to run them on.
    :arg variables: the context variables that they see.
    :arg on_failure: called with the exception of a task, `CancelledError` if it was cancelled.
    :arg all_tasks: the tasks of all requests, to which these are added while they run.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        variables: contextvars.Context,
        on_failure: Callable[[BaseException], None],
        all_tasks: set[asyncio.Task[Any]],
    ) -> None:
        self._loop = loop
        self._variables = variables
        self._on_failure = on_failure
        self._all_tasks = all_tasks
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as a task."""
        # Not `create_task`: an eager task factory would start it within this call.
        task: asyncio.Task[None] = self._variables.run(self._create, work)
        self._tasks.add(task)
        self._all_tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def cancel(self) -> None:
        """Cancel the tasks; their exceptions are not reported any more."""
        tasks, self._tasks = self._tasks, set()
        if not self._loop.is_closed():
            for task in tasks:
                task.cancel()

    def _create(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.Task(work, loop=self._loop)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._all_tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if task not in self._tasks:
            # `cancel` has cancelled it. The request may have been retried since.
            return
        self._tasks.discard(task)
        if error is not None:
            self._on_failure(error)
