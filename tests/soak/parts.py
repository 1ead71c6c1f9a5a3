"""The three parts: many fetches, many in flight, and a peer that is killed."""

from __future__ import annotations

import asyncio
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import Any, NamedTuple

from turbo_tornado import HTTPResponse, errors
from turbo_tornado.request.url import parse_url

from .held import Mark, descriptors, mark, resident, threads
from .server import PER_ADDRESS, Server
from .ways import FAILURES, SUCCESSES, Site, Way, Wrong, check

#: Fetches in progress at the same time in the first part.
AT_ONCE = 64
#: Idle connections for each origin when the process is measured. A cancelled fetch can have
#: caused a second connection.
KEPT = 2 * AT_ONCE
#: All numbers have as many digits.
FIRST = 1_000_000
#: Seconds after which a fetch counts as hanging. Its own timeout is 60 seconds.
HANGING = 120.0
#: Limit of the connections of an idle transport, plus a step of libcurl's limit.
MAX_IDLE = 512 + 64
#: Errors that a fetch may have if its peer is killed or does not run.
GONE = {errors.COULD_NOT_CONNECT, errors.NO_HEADERS, errors.SOCKET_ERROR, errors.SSL_ERROR}


class Bound(NamedTuple):
    """The allowed growth between the first and the last tenth."""

    more: int
    why: str


#: By the fields of `Mark`.
BOUNDS = {
    "descriptors": Bound(0, "the same connections are idle at each mark"),
    "threads": Bound(0, "the threads of the resolver exist from the beginning"),
    "tasks": Bound(0, "no fetch is in progress"),
    "timers": Bound(1, "libcurl may have one or none"),
    "objects": Bound(0, "nothing of a fetch is left"),
    "traced": Bound(131072, "Python's free lists; up to a hundred cancelled timers"),
    "heap": Bound(KEPT * 65536, "each handle of libcurl allocates its buffers once"),
    "resident": Bound(KEPT * 65536 + (8 << 20), "the same, and memory that malloc does not return"),
}


async def long_way(site: Site, fetches: int, every: int) -> tuple[dict[str, Any], list[str]]:
    """Run ``fetches``, of which one in ``every`` fails or is cancelled.

    :returns: the figures, and the violations.
    """
    failures = list(FAILURES.items())
    failed: Counter[str] = Counter()
    wrong: list[str] = []

    async def go(name: str, way: Way, number: int) -> None:
        try:
            await asyncio.wait_for(way.go(site, number), HANGING)
        except Exception as error:
            wrong.append(f"{name}: {error!r}")

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            turn, rest = divmod(number, every)
            if rest:
                await go("good", SUCCESSES[number % len(SUCCESSES)], FIRST + number)
            else:
                name, way = failures[turn % len(failures)]
                failed[name] += 1
                await go(name, way, FIRST + number)

    # These exist once: threads of the resolver, TLS contexts, caches.
    ways = [*(("good", way) for way in SUCCESSES), *failures]
    for number, (name, way) in enumerate(ways, FIRST + fetches):
        await go(name, way, number)
    constant = threads()

    tracemalloc.start()
    # The cache of URLs, with 1024 entries, is full at the first mark.
    for number in range(1024):
        parse_url(f"http://127.0.0.1:65535/cached/{number}")
    # The pool is full as well. A connection has one more object after it was reused.
    for origin in ("plain", "tls") * 2:
        await _hold(site, [site.origins[origin]] * KEPT)
    started = time.monotonic()
    marks = []
    for tenth in range(10):
        numbers = iter(range(fetches * tenth // 10, fetches * (tenth + 1) // 10))
        await asyncio.gather(*(work(numbers) for _ in range(AT_ONCE)))
        for origin in ("plain", "tls"):
            try:
                await _hold(site, [site.origins[origin]] * KEPT)
            except Wrong as error:
                wrong.append(f"together: {error}")
        await _idle(constant)
        marks.append(mark())
        print(f"{fetches * (tenth + 1) // 10:,} fetches: {marks[-1]}", file=sys.stderr, flush=True)
    tracemalloc.stop()
    figures = {
        "fetches": fetches,
        "failed": dict(failed),
        "seconds": round(time.monotonic() - started, 1),
        "marks": [one._asdict() for one in marks],
    }
    # At the first mark, those of libcurl's resolver may have ended.
    first = marks[0]._replace(threads=max(constant, marks[0].threads))
    return figures, wrong + grown(first, marks[-1])


def grown(first: Mark, last: Mark) -> list[str]:
    """Return the figures of ``last`` that exceed their limit."""
    over = []
    for name, bound in BOUNDS.items():
        before, after = getattr(first, name), getattr(last, name)
        if before is not None and after > before + bound.more:
            over.append(f"{name}: {before} after the first tenth, {after} after the last")
    return over


async def _idle(constant: int) -> None:
    """Wait until all work has ended, except for threads of libcurl's resolver."""
    deadline = time.monotonic() + 10
    while len(asyncio.all_tasks()) > 1 or threads() > constant:
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.01)


async def _hold(site: Site, origins: list[str]) -> tuple[int, int]:
    """Fetch from all ``origins`` at the same time. The responses wait for all requests.

    :returns: the descriptors and the resident bytes of the process at that moment.
    """
    count = len(origins)
    fetches = [
        site.client().fetch(
            f"{origin}/together?count={count}",
            cookie=f"number={number}",
            connect_timeout=HANGING,
            request_timeout=HANGING,
        )
        for number, origin in enumerate(origins, FIRST)
    ]
    await site.arrived(count)
    held = descriptors(), resident()
    check(await site.fetch(site.client(), "plain", f"/answer?count={count}", count), count)
    for number, res in enumerate(await asyncio.gather(*fetches), FIRST):
        check(res, number)
    return held


async def together(site: Site, server: Server, count: int) -> tuple[dict[str, Any], list[str]]:
    """Run ``count`` fetches at the same time, each on a separate connection.

    :returns: the figures, and the violations.
    """
    before = descriptors()
    started = time.monotonic()
    origins = [
        f"http://{server.addresses[number // PER_ADDRESS]}:{server.plain}"
        for number in range(count)
    ]
    wrong = []
    try:
        held, memory = await _hold(site, origins)
    except Wrong as error:
        return {"in flight": count}, [f"together: {error}"]
    seconds = time.monotonic() - started
    after = mark()
    if held < count:
        wrong.append(f"together: {held} descriptors for {count} connections")
    if after.descriptors > before + MAX_IDLE:
        wrong.append(f"together: {after.descriptors - before} descriptors are left")
    figures = {
        "in flight": count,
        "seconds": round(seconds, 1),
        "descriptors": held,
        "resident": memory,
        "descriptors after": after.descriptors,
    }
    return figures, wrong


async def killed_peer(site: Site, server: Server, kills: int) -> tuple[dict[str, Any], list[str]]:
    """Kill the peer with fetches in flight and idle connections, and restart it.

    :returns: the figures, and the violations.
    """
    ended: Counter[str] = Counter()
    wrong: list[str] = []

    async def outcome(when: str, fetch: Awaitable[HTTPResponse]) -> None:
        try:
            res = await asyncio.wait_for(fetch, HANGING)
        except asyncio.TimeoutError:
            wrong.append(f"killed: a fetch {when} hangs")
            return
        if res.error is None or res.error.code not in GONE:
            wrong.append(f"killed: a fetch {when} ended with {res!r}")
        else:
            ended[f"{when}: {res.error.code.name}"] += 1

    async def in_flight_and_gap(number: int) -> None:
        in_flight = []
        for origin in ("plain", "tls"):
            for path in ("/stall", "/stall-in-body"):
                for _ in range(4):
                    number += 1
                    in_flight.append(site.fetch(site.client(), origin, path, number))
                    await site.arrived(number)
        server.kill()
        gap = [
            site.fetch(site.client(), origin, "/body", 0, method=method, body="lost")
            for origin, method in requests * 8
        ]
        await asyncio.gather(
            *(outcome("in flight", fetch) for fetch in in_flight),
            *(outcome("of the gap", fetch) for fetch in gap),
        )

    # The first requests after the restart. A POST among them would not be retried.
    requests = [("plain", "GET"), ("tls", "GET"), ("plain", "POST"), ("tls", "POST")]
    for kill in range(kills):
        for origin in ("plain", "tls"):
            await _hold(site, [site.origins[origin]] * 16)
        if kill % 2 == 0:
            await in_flight_and_gap(FIRST * (kill + 2))
        else:
            # The loop does not run, so that the connections stay open until the restart.
            server.kill()
        server.start()
        origin, method = requests[kill // 2 % len(requests)]
        client = site.client()
        first = site.fetch(client, origin, "/body", 0, method=method, body=str(FIRST))
        try:
            check(await first, FIRST)
        except Wrong as error:
            wrong.append(f"killed: the first {method} after the peer is back: {error}")
    return {"kills": kills, "ended": dict(ended)}, wrong
