"""The limits and the resources of a process."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import os
import resource
import sys
import tracemalloc
from pathlib import Path
from typing import NamedTuple


def limit_of_files() -> int:
    """Return how many open files a process may have without privileges."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def raise_limit_of_files() -> None:
    """Raise the limit of open files as far as possible without privileges."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Mark(NamedTuple):
    """The resources of the process at one moment. Default unit: bytes."""

    descriptors: int
    threads: int
    #: asyncio tasks, without the one that measures.
    tasks: int
    #: Timers that have not been cancelled; uvloop does not report them.
    timers: int | None
    #: Instances of the classes of the package, without the `Connection` of the curl transport,
    #: which stores one for each descriptor that was ever used.
    objects: int
    #: Memory from Python's allocators, by tracemalloc.
    traced: int
    #: Memory from malloc, including libcurl and OpenSSL. Only glibc reports it.
    heap: int | None
    resident: int


def mark() -> Mark:
    """Measure, after a collection of garbage."""
    gc.collect()
    timers = getattr(asyncio.get_running_loop(), "_scheduled", None)
    return Mark(
        descriptors=descriptors(),
        threads=threads(),
        tasks=len(asyncio.all_tasks()) - 1,
        timers=None if timers is None else sum(not timer.cancelled() for timer in timers),
        objects=sum(_is_ours(type(one)) for one in gc.get_objects()),
        traced=tracemalloc.get_traced_memory()[0],
        heap=_heap(),
        resident=resident(),
    )


_KEPT_BY_CURL = ("turbo_tornado.transports.curl.connections", "Connection")


# Once for each type, because each access to the module of a built-in type interns a string. The
# table of these strings has 0.9 MiB and moves when it is full, which counts as traced memory.
@functools.cache
def _is_ours(kind: type) -> bool:
    # A type of an extension module can have any value as its module.
    module = str(kind.__module__)
    return module.startswith("turbo_tornado") and (module, kind.__name__) != _KEPT_BY_CURL


def descriptors() -> int:
    # The directory itself was open.
    return len(os.listdir("/proc/self/fd")) - 1


def threads() -> int:
    """Count the threads, including those of libcurl and libuv."""
    return len(os.listdir("/proc/self/task"))


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _heap() -> int | None:
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return None
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)
