"""The workloads, and the job that one client gets of one of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

#: Bytes of the body of most responses.
SMALL = 12
#: Bytes of the body that is measured for time and memory.
LARGE = 100_000_000
#: Bytes of the body that is posted.
POSTED = 1024
#: Seconds that the delay server takes for a response.
DELAY = 1.0


@dataclass(frozen=True)
class Workload:
    """What is asked of a client.

    :arg in_flight: how many requests there are at any time.
    :arg kept: whether connections are kept, or each request opens and closes its own.
    :arg burst: all requests are started together, once, on the delay server; otherwise
        each is followed by the next one, for as long as a run lasts.
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
        Workload("burst-1000", "1 000 in flight, 1 s each", 1_000, burst=True),
        Workload("burst-5000", "5 000 in flight, 1 s each", 5_000, burst=True),
        Workload("burst-15000", "15 000 in flight, 1 s each", 15_000, burst=True),
    )
}


@dataclass(frozen=True)
class Job:
    """One run: what a client's own process is told, as JSON.

    :arg loop: ``"asyncio"``, ``"uvloop"``, or ``""`` for a client with a loop of its own.
    :arg urls: those in flight take one each, in turn. There are several where there are
        more connections than one address can take at once.
    :arg ca: PEM file of the authority that the server's certificate is from.
    :arg timeout: seconds that the client may take for one request. No client is failed
        by a default that is too short for the workload.
    :arg warm_up, window: seconds and number of requests, whichever ends first, of what
        goes before and of what is measured.
    """

    client: str
    loop: str
    urls: list[str]
    method: str
    posted: int
    length: int
    in_flight: int
    kept: bool
    ca: str
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
