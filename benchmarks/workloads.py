"""The workloads, and the job of a client process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

#: Bytes of the body of most responses.
SMALL = 12
#: Bytes of the large body.
LARGE = 100_000_000
#: Bytes of the streamed body.
HUGE = 1 << 30
#: Bytes of the posted body.
POSTED = 1024
#: Seconds after which the delay server responds.
DELAY = 1.0


@dataclass(frozen=True)
class Workload:
    """A kind of request and how many of them.

    :arg in_flight: number of requests in flight at any time.
    :arg kept: whether connections are reused. If false, each request opens one.
    :arg burst: whether all requests start together, once, on the delay server. If false,
        each request is followed by the next one until the run ends.
    :arg streamed: whether the client receives the body in chunks and counts their bytes. If
        false, it keeps the whole body in memory.
    """

    name: str
    title: str
    in_flight: int
    kept: bool = True
    tls: bool = False
    method: str = "GET"
    path: str = "/small"
    length: int = SMALL
    posted: int = 0
    burst: bool = False
    streamed: bool = False


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("get-50-kept", "GET 12 bytes, 50 in flight", 50),
        Workload("get-1-kept", "GET 12 bytes, one at a time", 1),
        Workload("get-50-fresh", "GET 12 bytes, 50 in flight, fresh connections", 50, kept=False),
        Workload("get-1-fresh", "GET 12 bytes, one at a time, fresh connections", 1, kept=False),
        Workload("tls-50-kept", "TLS, 50 in flight", 50, tls=True),
        Workload("tls-1-kept", "TLS, one at a time", 1, tls=True),
        Workload("tls-50-fresh", "TLS, 50 in flight, fresh connections", 50, tls=True, kept=False),
        Workload("tls-1-fresh", "TLS, one at a time, fresh connections", 1, tls=True, kept=False),
        Workload("post-50-kept", "POST 1 KB, 50 in flight", 50, method="POST", posted=POSTED),
        Workload("body-100mb", "GET 100 MB, one at a time", 1, path="/large", length=LARGE),
        Workload("stream-1gb", "1 GiB, streamed", 1, path="/huge", length=HUGE, streamed=True),
        Workload("burst-1000", "1 000 in flight, 1 s each", 1_000, burst=True),
        Workload("burst-5000", "5 000 in flight, 1 s each", 5_000, burst=True),
        Workload("burst-15000", "15 000 in flight, 1 s each", 15_000, burst=True),
    )
}


@dataclass(frozen=True)
class Job:
    """One run, which the client process receives as JSON.

    :arg loop: ``"asyncio"``, ``"uvloop"``, or ``""`` for a client with its own loop.
    :arg urls: the requests in flight use them in turn. There are several if one address
        cannot accept that many connections at once.
    :arg ca: PEM file of the certificate authority of the server.
    :arg before: checkout of an older version, or ``""``.
    :arg timeout: seconds for one request, longer than any workload takes.
    :arg warm_up, window: seconds and number of requests of the warm-up and of the measured
        run. Either ends it.
    """

    client: str
    loop: str
    urls: list[str]
    method: str
    posted: int
    length: int
    in_flight: int
    kept: bool
    streamed: bool
    ca: str
    before: str
    timeout: float
    warm_up: tuple[float, int]
    window: tuple[float, int]

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Job:
        return cls(**json.loads(text))

    @property
    def body(self) -> bytes | None:
        return b"x" * self.posted if self.posted else None
