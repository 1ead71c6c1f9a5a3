"""The basis of every fuzz test: a separate loop, peers, transports, and a profile.

Hypothesis is synchronous. Each example runs to its end on a loop that all examples share.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from tornado.httpclient import AsyncHTTPClient

from tests.support import RawPeer, Script

T = TypeVar("T")

#: Seconds in which every operation that can end has ended, on any machine.
LONG = 30.0

#: How many times the examples of a quick run each profile has.
PROFILES = {"ci": 1, "long": 20}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
_factor = PROFILES[PROFILE]

#: Timeout of one test, in seconds.
TIMEOUT = 300 * _factor

TRANSPORTS = ["simple"] + ["curl"] * (importlib.util.find_spec("pycurl") is not None)


def profile(examples: int, **more: Any) -> settings:
    """Return the settings of a test that has ``examples`` in a quick run."""
    return settings(
        max_examples=examples * _factor,
        # A quick run is deterministic, so that only a change can make it fail.
        derandomize=PROFILE == "ci",
        # The machine may be busy.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        database=None,
        print_blob=True,
        **more,
    )


def make_transport(name: str, **options: Any) -> AsyncHTTPClient:
    """Return a new transport for the running loop, which the caller closes."""
    kind: type[AsyncHTTPClient]
    if name == "curl":
        from turbo_tornado.transports.curl import CurlTransport as kind
    else:
        from turbo_tornado.transports.simple import SimpleTransport as kind
    return kind(force_instance=True, **options)


class Bench:
    """A loop with peers for all examples.

    An operation on it fails after `LONG` seconds.
    """

    def __init__(
        self, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    ) -> None:
        self.loop = new_loop()
        self._peers: list[RawPeer] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, LONG))

    def peer(self, script: Script) -> RawPeer:
        peer = RawPeer(script, "127.0.0.1")
        self.run(peer.listen(None))
        self._peers.append(peer)
        return peer

    def close(self) -> None:
        try:
            for peer in self._peers:
                self.run(peer.close())
            self.run(turns(3))
            left = asyncio.all_tasks(self.loop)
        finally:
            self.loop.close()
        assert not left, f"tasks left pending: {left}"


async def turns(count: int) -> None:
    """Let the loop process the pending events."""
    for _ in range(count):
        await asyncio.sleep(0)
