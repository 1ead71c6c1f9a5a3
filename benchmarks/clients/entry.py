"""The description of a client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..measure import Client, run_in_loop
from ..workloads import Job, Workload


@dataclass(frozen=True)
class Entry:
    """A client of the benchmark.

    :arg name: the name on the command line.
    :arg title: the name in the tables.
    :arg needs: modules that must be installed.
    :arg run: measures the client on a job, ``None`` for a client that is not in Python.
    :arg loops: whether it runs on asyncio and uvloop. If false, it has its own event loop.
    :arg before: whether it measures the checkout of ``--before`` instead of this one.
    :arg streams: whether it can receive a body in chunks, in this benchmark.
    :arg unsupported: the reason for each feature that the client does not support:
        ``"uvloop"``, ``"tls"``, ``"fresh"`` or the name of a workload.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    run: Callable[[Job], dict[str, Any]] | None
    loops: bool = True
    before: bool = False
    streams: bool = False
    unsupported: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, workload: Workload, loop: str) -> str | None:
        """Return the feature that a workload needs and the client does not support."""
        if workload.streamed and not self.streams:
            return "streamed"
        needed = {workload.name, loop}
        if workload.tls:
            needed.add("tls")
        if not workload.kept:
            needed.add("fresh")
        return next((feature for feature in self.unsupported if feature in needed), None)


def in_loop(client: Client) -> Callable[[Job], dict[str, Any]]:
    """Return the ``run`` of a client for asyncio."""
    return lambda job: run_in_loop(client, job)
