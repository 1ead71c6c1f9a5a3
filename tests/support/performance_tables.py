"""``python -m tests.support.performance_tables``: the figures of docs/performance.md."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from benchmarks.chart import BASE, TITLES, chart
from benchmarks.clients import CLIENTS
from benchmarks.results import Metric, Results, cpu, number, rate

from .generated import GeneratedPart

_DOCS = Path(__file__).parents[2] / "docs"
PAGE = _DOCS / "performance.md"
CHART = _DOCS / "benchmarks" / "chart.svg"
PART = GeneratedPart("The tables of figures")
_CLIENTS = (BASE, "turbo-curl", "stock-simple", "stock-curl", "wreq", "aiohttp", "httpx")
_WORKLOADS = {
    "get-50-kept": "GET, 50 in flight",
    "get-1-kept": "GET, one at a time",
    "get-50-fresh": "GET, new connections",
    "tls-50-kept": "TLS, 50 in flight",
    "post-50-kept": "POST, 50 in flight",
}


def measured() -> list[Results]:
    """Return the results of the run with Tornado's clients, and of that with other clients."""
    folders = (_DOCS / "benchmarks", _DOCS / "benchmarks" / "peers")
    return [Results(json.loads((folder / "results.json").read_text())) for folder in folders]


def drawing() -> str:
    """Return the chart."""
    return chart(measured())


def tables() -> str:
    """Return both tables in Markdown."""
    parts = [("Requests per second", rate), ("CPU per request, µs", cpu)]
    return (
        "\n".join(line for title, metric in parts for line in ["", *_table(title, metric)]) + "\n"
    )


def _table(title: str, metric: Metric) -> list[str]:
    titles = [title, *_WORKLOADS.values()]
    return [
        f"| {' | '.join(titles)} |",
        "| --- |" + " ---: |" * len(_WORKLOADS),
        *(f"| {' | '.join(_row(client, metric))} |" for client in _CLIENTS),
    ]


def _row(client: str, metric: Metric) -> list[str]:
    return [
        TITLES.get(client, CLIENTS[client].title),
        *(_figure(client, workload, metric) for workload in _WORKLOADS),
    ]


def _figure(client: str, workload: str, metric: Metric) -> str:
    """Return the median of the rounds, from the first run with the client."""
    rounds = next(filter(None, (run.good(workload, client, "asyncio") for run in measured())))
    return number(median(metric(each) for each in rounds.values()))


if __name__ == "__main__":
    PART.write(PAGE, tables())
    CHART.write_text(drawing())
