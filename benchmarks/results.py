"""The results of the runs: metrics, and ratios of two clients in the same round."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from .clients import CLIENTS
from .workloads import WORKLOADS

Run = dict[str, Any]
Metric = Callable[[Run], float]


def rate(run: Run) -> float:
    """Right responses per second."""
    return float(run["done"] / run["wall"])


def seconds_each(run: Run) -> float:
    """Wall time for each request that ran after another."""
    return float(run["wall"] / run["done"])


def cpu(run: Run) -> float:
    """Microseconds of CPU per request, user and system."""
    return float(run["cpu"] / run["done"] * 1e6)


def wall(run: Run) -> float:
    """Seconds for the whole run."""
    return float(run["wall"])


def peak(run: Run) -> float:
    """Peak resident memory in MB."""
    return float(run["peak"] / 1e6)


def failed(run: Run) -> float:
    """Number of wrong and missing responses."""
    return float(run["failed"])


class Results:
    """The runs by workload, client and loop, one for each round."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.about = results
        self._runs: dict[tuple[str, str, str], dict[int, Run]] = {}
        for run in results["runs"]:
            key = (run["workload"], run["client"], run["loop"])
            self._runs.setdefault(key, {})[run["round"]] = run

    def rounds(self, workload: str, client: str, loop: str) -> dict[int, Run]:
        """Return the run of each round. A client with its own loop has the same on both."""
        return self._runs.get((workload, client, self._loop(client, loop)), {})

    def good(self, workload: str, client: str, loop: str) -> dict[int, Run]:
        """Return the runs with at least one right response."""
        rounds = self.rounds(workload, client, loop)
        return {number: run for number, run in rounds.items() if run["done"]}

    def paired(
        self,
        one: tuple[str, str],
        other: tuple[str, str],
        loop: str,
        combine: Callable[[Run, Run], float],
    ) -> float | None:
        """Return the median over the rounds of a value of two (workload, client)."""
        ones, others = self.good(*one, loop), self.good(*other, loop)
        both = ones.keys() & others.keys()
        return median(combine(ones[number], others[number]) for number in both) if both else None

    def ratio(
        self, one: tuple[str, str], other: tuple[str, str], loop: str, metric: Metric
    ) -> float | None:
        """Return the median over the rounds of the ratio of two (workload, client)."""
        return self.paired(one, other, loop, lambda a, b: metric(a) / metric(b))

    def clients(self, loop: str) -> list[str]:
        measured = {(client, its) for _, client, its in self._runs}
        return [client for client in CLIENTS if (client, self._loop(client, loop)) in measured]

    def workloads(self) -> list[str]:
        measured = {workload for workload, _, _ in self._runs}
        return [name for name in WORKLOADS if name in measured]

    def loops(self) -> list[str]:
        measured = {loop for _, _, loop in self._runs}
        return [loop for loop in ("asyncio", "uvloop") if loop in measured] or [""]

    @staticmethod
    def _loop(client: str, loop: str) -> str:
        return loop if client not in CLIENTS or CLIENTS[client].loops else ""


def number(value: float) -> str:
    """Return a number with three significant digits."""
    if value < 10:
        return f"{value:.2f}"
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value, -digits):,.0f}".replace(",", " ")
