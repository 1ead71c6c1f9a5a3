"""The performance requirements of this package, compared with the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .clients import CLIENTS
from .results import Metric, Results, Run, cpu, failed, peak, rate, seconds_each
from .workloads import LARGE, WORKLOADS

#: The client with requirements: `HTTPClient` on the simple transport.
MEASURED = "turbo-simple"
#: The transport of that client without the client: ``transport.send(request, on_done)``.
#: The row is left out until there is an entry with this name.
TRANSPORT = "send"
#: Without a result.
ABSENT = "-"


@dataclass(frozen=True)
class Requirement:
    """A limit on one metric of `MEASURED` on one workload.

    :arg at_least: whether the limit is a lower one.
    :arg against: (workload, client) to compare with, ``None`` for an absolute value.
    :arg combine: the value of two runs, default: the ratio of the metric.
    """

    workload: str
    what: str
    metric: Metric
    limit: float
    at_least: bool = False
    against: tuple[str, str] | None = None
    loop: str = "asyncio"
    combine: Callable[[float, float], float] = lambda ours, theirs: ours / theirs

    def value(self, results: Results) -> float | None:
        """Return the median, or the maximum of an absolute value, ``None`` if not measured."""
        if self.against is None:
            runs = results.rounds(self.workload, MEASURED, self.loop)
            return max(map(self.metric, runs.values())) if runs else None

        def combined(ours: Run, theirs: Run) -> float:
            return self.combine(self.metric(ours), self.metric(theirs))

        return results.paired((self.workload, MEASURED), self.against, self.loop, combined)

    def verdict(self, results: Results) -> str:
        value = self.value(results)
        if value is None:
            return ABSENT
        met = value >= self.limit if self.at_least else value <= self.limit
        text = f"{value:.0f}" if self.against is None else f"{value:.2f}"
        return _verdict(text, met, results.rounds(self.workload, MEASURED, self.loop))


def _verdict(text: str, met: bool, rounds: dict[int, Run]) -> str:
    # A client with wrong responses meets no limit.
    met = met and not any(run["failed"] for run in rounds.values())
    return f"{text} {'✓' if met else '✗'}"


def _faster(workload: str, factor: float, than: str, loop: str = "asyncio") -> Requirement:
    what = f"requests/s at least {factor} x {_title(than)}"
    return Requirement(workload, what, rate, factor, True, (workload, than), loop)


def _at_most(
    workload: str, factor: float, than: str, metric: Metric, name: str, of: str = ""
) -> Requirement:
    what = f"{name} at most {factor} x {_title(than) if not of else 'that at 1 000'}"
    return Requirement(workload, what, metric, factor, False, (of or workload, than))


def _title(client: str) -> str:
    return CLIENTS[client].title if client in CLIENTS else client


REQUIREMENTS = [
    _at_most("get-50-kept", 1.1, "wreq", cpu, "CPU"),
    _at_most("get-50-kept", 0.42, "aiohttp", cpu, "CPU"),
    _faster("get-50-kept", 0.9, "turbo-lua"),
    _faster("get-50-kept", 1.0, "turbo-lua", "uvloop"),
    _faster("get-50-kept", 1.8, "before-simple"),
    _faster("get-1-kept", 1.3, "aiohttp"),
    _faster("get-1-kept", 1.0, "wreq"),
    _faster("get-1-kept", 0.85, "turbo-lua"),
    _at_most("tls-50-kept", 0.55, "aiohttp", cpu, "CPU"),
    _at_most("post-50-kept", 0.42, "aiohttp", cpu, "CPU"),
    _faster("get-50-fresh", 1.6, "aiohttp"),
    _faster("get-50-fresh", 1.2, "before-simple"),
    _at_most("body-100mb", 0.6, "aiohttp", seconds_each, "time"),
    Requirement("body-100mb", "peak at most body + 30 MB", peak, LARGE / 1e6 + 30),
    _at_most("stream-1gb", 1.0, "aiohttp", seconds_each, "time"),
    _at_most("stream-1gb", 1.0, "aiohttp", peak, "peak"),
    Requirement("burst-15000", "no failure", failed, 0),
    _at_most("burst-15000", 1.2, MEASURED, cpu, "CPU per request", of="burst-1000"),
    _at_most("burst-15000", 1.0, "aiohttp", peak, "peak"),
    Requirement(
        "get-50-kept",
        "CPU over its transport at most 8 µs",
        cpu,
        8,
        against=("get-50-kept", TRANSPORT),
        combine=lambda client, transport: client - transport,
    ),
]

#: Limits on the ratios of the curl transport and its older version.
CURL, CURL_BEFORE = "turbo-curl", "before-curl"
CURL_LIMITS: dict[str, tuple[Metric, float, bool]] = {
    "requests/s, at least 0.9": (rate, 0.9, True),
    "CPU per request, at most 1.1": (cpu, 1.1, False),
    "peak, at most 1.1": (peak, 1.1, False),
}


def requirement_rows(results: Results) -> list[list[str]]:
    """Return the rows of the requirements that were measured, with their verdicts."""
    rows = []
    for needed in REQUIREMENTS:
        if not results.rounds(needed.workload, MEASURED, needed.loop):
            continue
        if needed.against and needed.against[1] not in CLIENTS:
            continue
        title = WORKLOADS[needed.workload].title
        on = "" if needed.loop == "asyncio" else f" ({needed.loop})"
        rows.append([title + on, needed.what, needed.verdict(results)])
    return rows


def curl_rows(results: Results) -> list[list[str]]:
    """Return a row for each workload that both versions on curl were measured on."""
    rows = []
    for loop in results.loops():
        for workload in results.workloads():
            ours, theirs = (workload, CURL), (workload, CURL_BEFORE)
            cells = []
            for metric, limit, at_least in CURL_LIMITS.values():
                ratio = results.ratio(ours, theirs, loop, metric)
                if ratio is not None:
                    met = ratio >= limit if at_least else ratio <= limit
                    cells.append(_verdict(f"{ratio:.2f}", met, results.rounds(*ours, loop)))
            if cells:
                rows.append([WORKLOADS[workload].title, loop, *cells])
    return rows
