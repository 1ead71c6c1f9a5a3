"""The report: tables of medians and ratios, and the requirements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .chart import chart
from .clients import CLIENTS
from .requirements import ABSENT, CURL_LIMITS, MEASURED, curl_rows, requirement_rows
from .results import Metric, Results, Run, cpu, number, peak, rate, wall
from .workloads import WORKLOADS

#: The workloads with large bodies, and the titles of their tables.
_LARGE = {"body-100mb": "A body of 100 MB", "stream-1gb": "A streamed body of 1 GiB"}


def brief(run: Run) -> str:
    """Return one run as a line for the terminal."""
    text = ""
    if run["done"]:
        text = f"{rate(run):9.1f}/s {cpu(run):9.1f} us {wall(run):6.2f} s {peak(run):6.0f} MB"
    if run["failed"]:
        text += f"  {run['failed']} failed: {run['error']}"
    return text


def write(results: dict[str, Any], folder: Path) -> None:
    """Write ``results.json``, ``table.md`` and ``chart.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "table.md").write_text(markdown(results))
    (folder / "chart.svg").write_text(chart([Results(results)]))


def markdown(about: dict[str, Any]) -> str:
    """Return all tables."""
    results = Results(about)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts = [
        f"Measured {about['date']}: {about['rounds']} rounds of {about['seconds']:g} s each. "
        f"{versions}.\n\n"
        "Medians over the rounds. ± is half of the distance between the best and the worst "
        "round. † opened a connection for every request. *n failed* is the largest number of "
        "wrong and missing responses in one round.\n"
    ]
    small = [
        name for name in results.workloads() if not WORKLOADS[name].burst and name not in _LARGE
    ]
    for loop in results.loops():
        on = f" ({loop})" if loop else ""
        if small:
            parts.append(_matrix(results, f"CPU per request, µs{on}", small, loop, cpu))
            parts += _ratios(results, small, loop)
            parts.append(_matrix(results, f"Requests per second{on}", small, loop, rate))
        for name, title in _LARGE.items():
            if name in results.workloads():
                parts.append(_large(results, f"{title}{on}", name, loop))
        for name in results.workloads():
            if WORKLOADS[name].burst:
                parts.append(_bursts(results, f"{WORKLOADS[name].title}{on}", name, loop))
    if rows := requirement_rows(results):
        parts.append(_table("What it must show", ["workload", "required", "measured"], rows))
    if rows := curl_rows(results):
        head = ["workload", "loop", *CURL_LIMITS]
        parts.append(_table("Turbo client on curl, compared with the version before", head, rows))
    if left_out := about.get("left_out"):
        rows = [[what, reason] for what, reason in left_out.items()]
        parts.append(_table("Not measured", ["client or workload", "reason"], rows))
    return "\n".join(parts)


def _table(title: str, head: Sequence[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return f"## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(results: Results, workload: str, client: str, loop: str, metric: Metric) -> str:
    rounds = results.rounds(workload, client, loop)
    if not rounds:
        return ABSENT
    values = [metric(run) for run in results.good(workload, client, loop).values()]
    first = next(iter(rounds.values()))
    if not values:
        return f"*{first['error']}*"
    middle = median(values)
    text = f"{number(middle)} ±{(max(values) - min(values)) / 2 / middle:.0%}"
    if WORKLOADS[workload].kept and first.get("connections", 0) >= first.get("requests", 1) > 1:
        text += " †"
    if worst := max(run["failed"] for run in rounds.values()):
        text += f" *{worst} failed*"
    return text


def _matrix(results: Results, title: str, names: list[str], loop: str, metric: Metric) -> str:
    return _table(
        title,
        ["client", *(WORKLOADS[name].title for name in names)],
        [
            [CLIENTS[client].title] + [_cell(results, name, client, loop, metric) for name in names]
            for client in results.clients(loop)
        ],
    )


def _ratios(results: Results, names: list[str], loop: str) -> list[str]:
    """Return the table of the CPU of one client, divided by that of each other client."""
    clients = results.clients(loop)
    ours = MEASURED if MEASURED in clients else clients[0]
    rows = []
    for client in clients:
        if client != ours:
            found = [results.ratio((name, ours), (name, client), loop, cpu) for name in names]
            cells = [ABSENT if ratio is None else f"{ratio:.2f}" for ratio in found]
            rows.append([CLIENTS[client].title, *cells])
    on = f" ({loop})" if loop else ""
    title = f"CPU per request of {CLIENTS[ours].title}, divided by that of each client{on}"
    head = ["client", *(WORKLOADS[name].title for name in names)]
    return [_table(title, head, rows)] if rows else []


def _metrics(
    results: Results, title: str, workload: str, loop: str, metrics: dict[str, Metric]
) -> str:
    return _table(
        title,
        ["client", *metrics],
        [
            [CLIENTS[client].title]
            + [_cell(results, workload, client, loop, metric) for metric in metrics.values()]
            for client in results.clients(loop)
        ],
    )


def _large(results: Results, title: str, workload: str, loop: str) -> str:
    metrics: dict[str, Metric] = {
        "ms each": lambda run: 1000 / rate(run),
        "CPU ms each": lambda run: cpu(run) / 1000,
        "peak MB": peak,
    }
    return _metrics(results, title, workload, loop, metrics)


def _bursts(results: Results, title: str, workload: str, loop: str) -> str:
    metrics: dict[str, Metric] = {"wall s": wall, "CPU µs per request": cpu, "peak MB": peak}
    return _metrics(results, title, workload, loop, metrics)
