"""``python -m tests.soak``: many fetches, many in flight, and a peer that is killed.

Prints the resources of the process at each tenth of the run. Ends with 1 if one of them has
grown, or if a fetch had an unexpected result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any

from tests.support.blackhole import blackhole
from tests.support.certificates import Certificates
from tests.support.leaks import ErrorRecords

from .held import limit_of_files, raise_limit_of_files
from .parts import BOUNDS, killed_peer, long_way, together
from .server import PER_ADDRESS, Server
from .ways import Site

TRANSPORTS = ("simple", "curl")
#: Descriptors that a process needs in addition to its connections.
SPARE_DESCRIPTORS = 300


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--transport", choices=TRANSPORTS, help="default: both")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--fetches", type=int, default=200_000, help="default: 200 000")
    parser.add_argument(
        "--every", type=int, default=100, help="one fetch in EVERY fails; default: 100"
    )
    parser.add_argument("--in-flight", type=int, default=15_000, help="default: 15 000")
    parser.add_argument("--kills", type=int, default=8, help="restarts of the peer; default: 8")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    limit = limit_of_files()
    if args.in_flight + SPARE_DESCRIPTORS > limit:
        print(
            f"--in-flight {args.in_flight} needs {args.in_flight + SPARE_DESCRIPTORS} open files, "
            f"but `ulimit -Hn` is {limit}: raise it, or use --in-flight "
            f"{limit - SPARE_DESCRIPTORS}",
            file=sys.stderr,
        )
        return 2
    raise_limit_of_files()
    results = [run(args, name) for name in ([args.transport] if args.transport else TRANSPORTS)]
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(result["wrong"] for result in results))


def run(args: argparse.Namespace, transport: str) -> dict[str, Any]:
    """Run all parts on one transport, and print the results."""
    result = with_loop(args.loop, parts(args, transport))
    print(report(result), flush=True)
    return result


def with_loop(name: str, main: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run ``main`` on a loop of this kind. A logged error is a violation as well."""
    if name == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    # The number of threads of asyncio's default executor would vary.
    loop.set_default_executor(ThreadPoolExecutor(1))
    logged = ErrorRecords()
    logging.getLogger().addHandler(logged)
    try:
        result = loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
        logging.getLogger().removeHandler(logged)
    result["wrong"] += logged.texts()
    return result


async def parts(args: argparse.Namespace, transport: str) -> dict[str, Any]:
    addresses = ceil(args.in_flight / PER_ADDRESS)
    with tempfile.TemporaryDirectory() as folder, blackhole() as full:
        certificates = Certificates(Path(folder))
        server = Server(certificates.server_file("valid"), addresses)
        try:
            site = Site(transport, server, certificates.ca, full)
            killed, wrong = await killed_peer(site, server, args.kills)
            way, more = await long_way(site, args.fetches, args.every)
            wrong += more
            at_once, more = await together(site, server, args.in_flight)
            wrong += more
        finally:
            server.close()
    return {
        "transport": transport,
        "loop": args.loop,
        "killed": killed,
        "way": way,
        "together": at_once,
        "wrong": wrong,
    }


def report(result: dict[str, Any]) -> str:
    """Return the figures as text that is also Markdown."""
    killed, way, at_once = result["killed"], result["way"], result["together"]
    count, failed = way["fetches"], sum(way["failed"].values())
    lines = [
        f"### {result['transport']}, {result['loop']}",
        "",
        f"{count:,} fetches in {way['seconds']} s, of which {failed:,} failed or were cancelled, "
        f"in {len(way['failed'])} ways.",
        "",
        "| fetches | descriptors | threads | tasks | timers | objects | traced KiB "
        "| malloc KiB | resident MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for tenth, mark in enumerate(way["marks"], 1):
        cells = [
            f"{count * tenth // 10:,}",
            *(mark[name] for name in ("descriptors", "threads", "tasks", "timers", "objects")),
            *(mark[name] and round(mark[name] / 1024) for name in ("traced", "heap")),
            round(mark["resident"] / (1 << 20), 1),
        ]
        lines.append("| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |")
    bounds = ", ".join(f"{name} {bound.more}" for name, bound in BOUNDS.items())
    lines += [
        "",
        f"Allowed from the first tenth to the last: {bounds}.",
        "",
        f"{at_once['in flight']:,} in flight: "
        + ", ".join(f"{name} {at_once[name]:,}" for name in list(at_once)[1:]),
        "",
        f"{killed['kills']} kills: "
        + ", ".join(f"{count} {name}" for name, count in sorted(killed["ended"].items())),
        "",
        *(f"WRONG: {what}" for what in result["wrong"][:20]),
        f"{len(result['wrong'])} wrong",
        "",
    ]
    return "\n".join(lines)
