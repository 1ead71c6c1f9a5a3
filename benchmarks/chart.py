"""The chart: requests per second relative to Tornado's own clients, as SVG."""

from __future__ import annotations

from html import escape

from .clients import CLIENTS
from .results import Results, number, rate
from .workloads import WORKLOADS

CHARTED = ["get-50-kept", "get-1-kept", "get-50-fresh", "tls-50-kept", "post-50-kept"]
COLOURS = {
    "turbo-simple": "#0b6e4f",
    "turbo-curl": "#0b6e4f",
    "turbo-lua": "#d08a1d",
    "wreq": "#a4452c",
    "pyreqwest": "#d98a74",
    "aiohttp": "#2c5f9e",
    "aiosonic": "#8fb4dd",
    "zapros": "#5b3f8c",
    "httpx": "#a893c9",
    "httpx2": "#7a9a2e",
    "niquests": "#b9cc85",
    "curl_cffi": "#2c5f9e",
    "pycurl": "#9a9a9a",
}
#: The clients that each of Tornado's own is compared with: those on libcurl, and the others.
PANELS = {
    "stock-simple": [name for name in COLOURS if name not in ("turbo-curl", "curl_cffi", "pycurl")],
    "stock-curl": ["turbo-curl", "curl_cffi", "pycurl"],
}
WIDTH, LEFT, RIGHT, BAR, GAP = 860, 250, 60, 15, 14


def chart(results: Results) -> str:
    """Return bars of requests per second relative to each of Tornado's own clients."""
    loop = results.loops()[0]
    body: list[str] = []
    y = 10
    for stock, clients in PANELS.items():
        y = _panel(results, loop, stock, clients, body, y)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        f'viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _panel(
    results: Results, loop: str, stock: str, clients: list[str], body: list[str], y: int
) -> int:
    bars: dict[str, list[tuple[str, float]]] = {}
    for workload in CHARTED:
        for client in clients:
            ratio = results.ratio((workload, client), (workload, stock), loop, rate)
            if ratio is not None:
                bars.setdefault(workload, []).append((client, ratio))
    if not bars:
        return y
    longest = max(ratio for group in bars.values() for _, ratio in group)
    scale = (WIDTH - LEFT - RIGHT) / max(1.0, longest)
    on = f", {loop}" if loop else ""
    title = f"Requests per second, relative to {CLIENTS[stock].title} = 1{on}"
    body.append(_text(10, y + 16, title, 'font-size="15" font-weight="bold"'))
    y += 32
    x = 10
    for client in clients:
        if any(client == name for group in bars.values() for name, _ in group):
            width = 30 + 7 * len(CLIENTS[client].title)
            if x + width > WIDTH:
                x, y = 10, y + 18
            body.append(_rect(x, y, 11, 11, COLOURS[client]))
            body.append(_text(x + 16, y + 10, CLIENTS[client].title))
            x += width
    y += 26
    height = sum(BAR * len(group) + GAP for group in bars.values()) - GAP
    one = LEFT + scale
    body.append(
        f'<path d="M{one:.1f} {y - 6}v{height + 10}" stroke="#b3261e" stroke-dasharray="4 3"/>'
    )
    for workload, group in bars.items():
        middle = y + BAR * len(group) / 2 + 4
        label = WORKLOADS[workload].title.replace("fresh connections", "fresh")
        body.append(_text(LEFT - 10, middle, label, 'text-anchor="end"'))
        for client, ratio in group:
            length = ratio * scale
            body.append(_rect(LEFT, y, length, BAR - 2, COLOURS[client]))
            body.append(_text(LEFT + length + 5, y + 11, number(ratio), 'fill="#333333"'))
            y += BAR
        y += GAP
    return y + 10


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'
