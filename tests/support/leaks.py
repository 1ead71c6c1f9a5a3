"""Resources that a test must not leave behind."""

from __future__ import annotations

import asyncio
import gc
import logging

from tornado.ioloop import IOLoop

from turbo_tornado.transports.registry import registry


class ErrorRecords(logging.Handler):
    """Stores the errors that asyncio and Tornado log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        # A server's 5xx is logged as an error of the access log.
        if record.name.startswith(("asyncio", "tornado")) and record.name != "tornado.access":
            self.records.append(record)

    def texts(self) -> list[str]:
        formatter = logging.Formatter("%(name)s: %(message)s")
        return [formatter.format(record) for record in self.records]


def close_transports() -> None:
    """Close the transports of the current loop, as the end of the loop would.

    The end of the loop would be too late to detect the tasks that they leave.
    """
    registry.close(IOLoop.current())


async def pending_tasks(before: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    """Return the tasks that do not end although everything is closed."""
    current = asyncio.current_task()
    tasks = {task for task in asyncio.all_tasks() - before if task is not current}
    if tasks:
        # Cancelled and closed objects must run to their end.
        await asyncio.wait(tasks, timeout=10)
    # A failed future whose result was not read is reported when it is collected.
    gc.collect()
    # The collection after the next test need not visit the live objects.
    gc.freeze()
    return {task for task in tasks if not task.done()}
