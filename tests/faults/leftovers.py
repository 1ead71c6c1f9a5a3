"""The resources at one moment, to detect leaks of an action."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import socket
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple


class Snapshot(NamedTuple):
    descriptors: set[tuple[int, str]]
    tasks: set[Any]
    #: Not cancelled, by identity. Only of a loop that exposes its timers.
    timers: dict[int, Any]
    #: Not done, by identity, of the current loop.
    futures: dict[int, Any]

    @classmethod
    def take(cls) -> Snapshot:
        loop = asyncio.get_running_loop()
        # Only asyncio's own loops have this; uvloop's timers are libuv's.
        timers = [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
        futures = [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, asyncio.Future)
            and not isinstance(thing, asyncio.Task)
            and not thing.done()
            and thing.get_loop() is loop
        ]
        return cls(
            _descriptors(),
            asyncio.all_tasks() - {asyncio.current_task()},  # type: ignore[arg-type]
            {id(handle): handle for handle in timers},
            {id(future): future for future in futures},
        )

    def left_since(self, before: Snapshot) -> dict[str, list[str]]:
        """Return the resources that were created since ``before``, by kind."""
        left = {
            "descriptor": [f"{fd} {name}" for fd, name in self.descriptors - before.descriptors],
            "task": [repr(task) for task in self.tasks - before.tasks],
            "timer": [repr(self.timers[key]) for key in self.timers.keys() - before.timers.keys()],
            "pending future": [
                repr(self.futures[key]) for key in self.futures.keys() - before.futures.keys()
            ],
        }
        return {kind: things for kind, things in left.items() if things}


def _descriptors() -> set[tuple[int, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        # That of the listing itself is closed by now.
        with contextlib.suppress(FileNotFoundError):
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


def connections_to(ports: Iterable[int]) -> list[str]:
    """Return the connections of this process to these ports."""
    return [f"{fd} {name}" for fd, name in _descriptors() if _leads_to(fd, name) in ports]


def _leads_to(fd: int, name: str) -> int | None:
    if not name.startswith("socket:"):
        return None
    # Not connected, or of a family without ports.
    with contextlib.suppress(OSError, IndexError), socket.socket(fileno=os.dup(fd)) as asking:
        port: int = asking.getpeername()[1]
        return port
    return None


class PeakMemory:
    """The growth of the process since the beginning, in bytes.

    These figures of the kernel (VmRSS and VmHWM) cover the whole process: Python, libcurl, OpenSSL
    and the peer.
    """

    def __init__(self) -> None:
        gc.collect()
        # Free memory in the heap would hide new allocations. Only glibc has this.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
        self._before = _status("VmRSS")

    def growth(self) -> int:
        return max(0, _status("VmHWM") - self._before)


def _status(field: str) -> int:
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise LookupError(field)


def can_measure() -> bool:
    """Whether this system has the required figures."""
    return sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK)
