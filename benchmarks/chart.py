"""``python -m benchmarks.chart FILE...``: the chart of some ``results.json``, as SVG.

It shows requests per second relative to `BASE`. A client is compared with the base of the first
file that has it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from .clients import CLIENTS
from .results import Results, number, rate
from .workloads import WORKLOADS

BASE = "turbo-simple"
CHARTED = ["get-50-kept", "get-1-kept", "tls-50-kept"]
COMPARED = [BASE, "wreq", "aiohttp", "turbo-curl", "stock-curl", "stock-simple", "httpx"]
TITLES = {BASE: "turbo_tornado", "turbo-curl": "turbo_tornado on curl"}
OURS, OTHERS = "#0b6e4f", "#8a8f98"
# Narrow, so that the text has its size on a phone.
WIDTH, LEFT, RIGHT, BAR, GAP = 420, 150, 45, 20, 34


def chart(measured: Sequence[Results]) -> str:
    """Return a group of bars for each workload."""
    groups = {name: _bars(measured, name) for name in CHARTED}
    bars = [bar for group in groups.values() for bar in group]
    scale = (WIDTH - LEFT - RIGHT) / max((ratio for _, ratio in bars), default=1.0)
    body = [_text(0, 16, "Requests per second, relative to turbo_tornado", 'font-weight="bold"')]
    y = 16
    for workload, group in groups.items():
        if group:
            y += GAP
            body.append(_text(0, y - 6, WORKLOADS[workload].title))
        for client, ratio in group:
            colour = OURS if client.startswith("turbo") else OTHERS
            title = TITLES.get(client, CLIENTS[client].title)
            body.append(_text(LEFT - 8, y + 14, title, 'text-anchor="end" fill="#333333"'))
            body.append(
                f'<rect x="{LEFT}" y="{y + 2}" width="{ratio * scale:.1f}" height="{BAR - 4}" '
                f'fill="{colour}"/>'
            )
            body.append(_text(LEFT + ratio * scale + 6, y + 14, number(ratio), 'fill="#333333"'))
            y += BAR
    height = y + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _bars(measured: Sequence[Results], workload: str) -> list[tuple[str, float]]:
    """Return the clients and their ratios to the base, the fastest first."""
    bars: dict[str, float] = {}
    for results in measured:
        loop = results.loops()[0]
        for client in COMPARED:
            ratio = results.ratio((workload, client), (workload, BASE), loop, rate)
            if ratio is not None:
                bars.setdefault(client, ratio)
    return sorted(bars.items(), key=lambda bar: -bar[1])


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'


if __name__ == "__main__":
    print(chart([Results(json.loads(Path(name).read_text())) for name in sys.argv[1:]]), end="")
