"""What the runs say: medians over the rounds, ratios within each, a table and a chart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from .clients import CLIENTS
from .workloads import WORKLOADS

#: In the place of what was not measured.
ABSENT = "-"

Run = dict[str, Any]
Metric = Callable[[Run], float]


def rate(run: Run) -> float:
    """Right answers a second."""
    return float(run["done"] / run["wall"])


def cpu(run: Run) -> float:
    """Microseconds of CPU for each request, of the user and of the kernel."""
    return float(run["cpu"] / run["done"] * 1e6)


def wall(run: Run) -> float:
    return float(run["wall"])


def peak(run: Run) -> float:
    """Megabytes of resident memory, at most."""
    return float(run["peak"] / 1e6)


def failed(run: Run) -> float:
    return float(run["failed"])


def brief(run: Run) -> str:
    """One run in a line, for the terminal."""
    text = ""
    if run["done"]:
        text = f"{rate(run):9.1f}/s {cpu(run):9.1f} us {wall(run):6.2f} s {peak(run):6.0f} MB"
    if run["failed"]:
        text += f"  {run['failed']} failed: {run['error']}"
    return text


class Results:
    """The runs by workload, client and loop: one of each a round."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.about = results
        self._runs: dict[tuple[str, str, str], dict[int, Run]] = {}
        for run in results["runs"]:
            key = (run["workload"], run["client"], run["loop"])
            self._runs.setdefault(key, {})[run["round"]] = run

    def rounds(self, workload: str, client: str, loop: str) -> dict[int, Run]:
        """The rounds of a client; one with a loop of its own is the same on both loops."""
        own = loop if CLIENTS[client].loops else ""
        return self._runs.get((workload, client, own), {})

    def good(self, workload: str, client: str, loop: str) -> dict[int, Run]:
        rounds = self.rounds(workload, client, loop)
        return {number: run for number, run in rounds.items() if run["done"]}

    def paired(
        self,
        ours: tuple[str, str],
        theirs: tuple[str, str],
        loop: str,
        combine: Callable[[Run, Run], float],
    ) -> float | None:
        """The median over the rounds of something of two (workload, client) in one round."""
        one, other = self.good(*ours, loop), self.good(*theirs, loop)
        both = one.keys() & other.keys()
        return median(combine(one[number], other[number]) for number in both) if both else None

    def clients(self, loop: str) -> list[str]:
        measured = {(client, its) for _, client, its in self._runs}
        return [c for c in CLIENTS if (c, loop if CLIENTS[c].loops else "") in measured]

    def workloads(self) -> list[str]:
        measured = {workload for workload, _, _ in self._runs}
        return [name for name in WORKLOADS if name in measured]

    def loops(self) -> list[str]:
        measured = {loop for _, _, loop in self._runs}
        return [loop for loop in ("asyncio", "uvloop") if loop in measured] or [""]


@dataclass(frozen=True)
class Requirement:
    """What a transport, and the Turbo client on it, must reach.

    :arg transport: ``"curl"`` or ``"simple"``.
    :arg against: (workload, client) that it is compared with; ``None`` for an absolute
        number. An empty client is the one that is looked at.
    """

    workload: str
    transport: str
    what: str
    metric: Metric
    limit: float
    at_least: bool
    against: tuple[str, str] | None = None
    loop: str = "asyncio"

    def measured(self, results: Results, client: str) -> float | None:
        if self.against is None:
            runs = results.rounds(self.workload, client, self.loop)
            return max(map(self.metric, runs.values())) if runs else None
        other = (self.against[0], self.against[1] or client)
        return results.paired(
            (self.workload, client), other, self.loop, lambda a, b: self.metric(a) / self.metric(b)
        )

    def verdict(self, results: Results, client: str) -> str:
        value = self.measured(results, client)
        if value is None:
            return ABSENT
        met = value >= self.limit if self.at_least else value <= self.limit
        # A client that gives wrong answers has met nothing.
        runs = results.rounds(self.workload, client, self.loop).values()
        met = met and not any(run["failed"] for run in runs)
        text = f"{value:.0f}" if self.against is None else f"{value:.2f}"
        return f"{text} {'✓' if met else '✗'}"


def _faster(
    workload: str, transport: str, than: str, factor: float, loop: str = "asyncio"
) -> Requirement:
    what = f"{factor} x {CLIENTS[than].title}"
    return Requirement(workload, transport, what, rate, factor, True, (workload, than), loop)


def _no_more(
    workload: str, transport: str, than: str, metric: Metric, factor: float = 1.0
) -> Requirement:
    name = "wall time" if metric is wall else "peak memory"
    what = f"{name} at most {factor} x {CLIENTS[than].title}"
    return Requirement(workload, transport, what, metric, factor, False, (workload, than))


def _burst(transport: str, growth: float) -> list[Requirement]:
    largest, smallest = "burst-15000", "burst-1000"
    return [
        _no_more("burst-5000", transport, "aiohttp", wall),
        _no_more("burst-5000", transport, "aiohttp", peak),
        Requirement("burst-5000", transport, "no failure", failed, 0, False),
        Requirement(largest, transport, "no failure", failed, 0, False),
        Requirement(
            largest,
            transport,
            f"CPU per request at most {growth} x that at 1 000",
            cpu,
            growth,
            False,
            (smallest, ""),
        ),
    ]


REQUIREMENTS = [
    _faster("get-50-kept", "curl", "stock-curl", 2.5),
    _faster("get-50-kept", "curl", "aiohttp", 1.7),
    _faster("get-50-kept", "curl", "turbo-lua", 0.9),
    _faster("get-50-kept", "curl", "turbo-lua", 1.0, "uvloop"),
    _faster("get-50-kept", "simple", "stock-simple", 4),
    _faster("get-50-kept", "simple", "aiohttp", 0.8),
    _faster("get-1-kept", "curl", "stock-curl", 1.8),
    _faster("get-1-kept", "curl", "aiohttp", 1.0),
    _faster("get-1-kept", "simple", "stock-simple", 3),
    _faster("get-50-fresh", "curl", "stock-curl", 1.4),
    _faster("get-50-fresh", "curl", "aiohttp", 1.4),
    _faster("get-50-fresh", "simple", "stock-simple", 2),
    _faster("tls-50-kept", "curl", "stock-curl", 2),
    _faster("tls-50-kept", "simple", "stock-simple", 12),
    _faster("post-50-kept", "curl", "stock-curl", 2),
    _faster("post-50-kept", "curl", "aiohttp", 1.0),
    _faster("post-50-kept", "simple", "stock-simple", 3.5),
    _faster("body-100mb", "curl", "stock-curl", 1.0),
    _no_more("body-100mb", "curl", "stock-curl", peak),
    _faster("body-100mb", "simple", "stock-simple", 1.3),
    _no_more("body-100mb", "simple", "stock-simple", peak, 0.7),
    *_burst("curl", 1.3),
    *_burst("simple", 1.5),
]

#: Microseconds of CPU a fetch that the Turbo client may take over its transport.
OVERHEAD = 20.0


def overhead(results: Results, transport: str, workload: str, loop: str) -> float | None:
    return results.paired(
        (workload, f"turbo-{transport}"),
        (workload, transport),
        loop,
        lambda client, alone: cpu(client) - cpu(alone),
    )


def write(results: dict[str, Any], folder: Path) -> None:
    """Writes ``results.json``, ``table.md`` and ``chart.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "table.md").write_text(markdown(results))
    (folder / "chart.svg").write_text(chart(Results(results)))


# -- Tables ---------------------------------------------------------------------------


def markdown(about: dict[str, Any]) -> str:
    results = Results(about)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts = [
        f"Measured {about['date']}: {about['rounds']} rounds of {about['seconds']:g} s each. "
        f"{versions}.\n\n"
        "Medians over the rounds; ± is half of the distance between the best and the worst. "
        "† opened a connection for every request. *n failed*: the largest number of wrong or "
        "missing answers in one round.\n"
    ]
    rows = [name for name in results.workloads() if not WORKLOADS[name].burst]
    bursts = [name for name in results.workloads() if WORKLOADS[name].burst]
    for loop in results.loops():
        on = f" ({loop})" if loop else ""
        small = [name for name in rows if name != "body-100mb"]
        if small:
            parts.append(_matrix(results, f"Requests a second{on}", small, loop, rate))
            parts.append(_matrix(results, f"CPU, microseconds a request{on}", small, loop, cpu))
        if "body-100mb" in rows:
            parts.append(_large(results, f"A body of 100 MB{on}", loop))
        for name in bursts:
            parts.append(_bursts(results, f"{WORKLOADS[name].title}{on}", name, loop))
    parts += [_requirements(results), _overheads(results)]
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
    text = f"{_number(middle)} ±{(max(values) - min(values)) / 2 / middle:.0%}"
    if WORKLOADS[workload].kept and first.get("connections", 0) >= first.get("requests", 1) > 1:
        text += " †"
    if worst := max(run["failed"] for run in rounds.values()):
        text += f" *{worst} failed*"
    return text


def _number(value: float) -> str:
    if value < 10:
        return f"{value:.2f}"
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value, -digits):,.0f}".replace(",", " ")


def _matrix(results: Results, title: str, names: list[str], loop: str, metric: Metric) -> str:
    return _table(
        title,
        ["client", *(WORKLOADS[name].title for name in names)],
        [
            [CLIENTS[client].title] + [_cell(results, name, client, loop, metric) for name in names]
            for client in results.clients(loop)
        ],
    )


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


def _large(results: Results, title: str, loop: str) -> str:
    metrics: dict[str, Metric] = {
        "ms each": lambda run: 1000 / rate(run),
        "CPU ms each": lambda run: cpu(run) / 1000,
        "peak MB": peak,
    }
    return _metrics(results, title, "body-100mb", loop, metrics)


def _bursts(results: Results, title: str, workload: str, loop: str) -> str:
    metrics: dict[str, Metric] = {"wall s": wall, "CPU us a request": cpu, "peak MB": peak}
    return _metrics(results, title, workload, loop, metrics)


def _requirements(results: Results) -> str:
    rows = []
    for needed in REQUIREMENTS:
        verdicts = [
            needed.verdict(results, client)
            for client in (needed.transport, f"turbo-{needed.transport}")
        ]
        loop = "" if needed.loop == "asyncio" else f" ({needed.loop})"
        title = WORKLOADS[needed.workload].title + loop
        rows.append([title, needed.transport, needed.what, *verdicts])
    head = ["workload", "transport", "required", "measured: transport", "measured: Turbo client"]
    return _table("What it must show", head, rows)


def _overheads(results: Results) -> str:
    rows = []
    for loop in results.loops():
        for name in ("get-50-kept", "get-1-kept"):
            for transport in ("curl", "simple"):
                value = overhead(results, transport, name, loop)
                if value is not None:
                    text = f"{value:.1f} {'✓' if value <= OVERHEAD else '✗'}"
                    rows.append([WORKLOADS[name].title, transport, loop, f"{OVERHEAD:g}", text])
    title = "The Turbo client over its own transport, CPU microseconds a fetch"
    return _table(title, ["workload", "transport", "loop", "at most", "measured"], rows)


# -- Chart ----------------------------------------------------------------------------

CHARTED = ["get-50-kept", "get-1-kept", "get-50-fresh", "tls-50-kept", "post-50-kept"]
COLOURS = {
    "curl": "#0b6e4f",
    "turbo-curl": "#3fa87c",
    "simple": "#0b6e4f",
    "turbo-simple": "#3fa87c",
    "aiohttp": "#2c5f9e",
    "httpx": "#8fb4dd",
    "pycurl": "#9a9a9a",
    "turbo-lua": "#d08a1d",
}
PANELS = {
    "stock-curl": ["curl", "turbo-curl", "pycurl", "turbo-lua", "aiohttp", "httpx"],
    "stock-simple": ["simple", "turbo-simple", "aiohttp", "httpx"],
}
WIDTH, LEFT, RIGHT, BAR, GAP = 860, 250, 60, 15, 14


def chart(results: Results) -> str:
    """Bars of requests a second relative to each of Tornado's own clients, as SVG."""
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
            ratio = results.paired(
                (workload, client), (workload, stock), loop, lambda a, b: rate(a) / rate(b)
            )
            if ratio is not None:
                bars.setdefault(workload, []).append((client, ratio))
    if not bars:
        return y
    longest = max(ratio for group in bars.values() for _, ratio in group)
    scale = (WIDTH - LEFT - RIGHT) / max(1.0, longest)
    on = f", {loop}" if loop else ""
    title = f"Requests a second, relative to {CLIENTS[stock].title} = 1{on}"
    body.append(_text(10, y + 16, title, 'font-size="15" font-weight="bold"'))
    y += 32
    x = 10
    for client in clients:
        if any(client == name for group in bars.values() for name, _ in group):
            body.append(_rect(x, y, 11, 11, COLOURS[client]))
            body.append(_text(x + 16, y + 10, CLIENTS[client].title))
            x += 30 + 7 * len(CLIENTS[client].title)
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
            body.append(_text(LEFT + length + 5, y + 11, _number(ratio), 'fill="#333333"'))
            y += BAR
        y += GAP
    return y + 10


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'
