"""CPU time and peak memory of this process, on Linux."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def cpu_seconds() -> float:
    """Return the user and system time of this process and of its descendants.

    Threads are included, and so are descendants that have ended.
    """
    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    # RUSAGE_CHILDREN has only those that have ended and were waited for.
    return used + sum(map(_ticks, _descendants(os.getpid()))) / os.sysconf("SC_CLK_TCK")


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from _descendants(child)


def _ticks(pid: int) -> int:
    with suppress(OSError):
        # The name of the program, in parentheses, may contain spaces. Fields 14 to 17 are the
        # times of the process and of the children that it waited for.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0


def peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    # ru_maxrss starts with the peak of the parent process on Linux.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")
