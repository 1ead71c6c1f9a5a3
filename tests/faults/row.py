"""`Row`: one kind of misbehaviour of a peer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from turbo_tornado import errors

from .acts import Play

#: ``max_buffer_size`` of every client here, in bytes.
LIMIT = 1024 * 1024
#: Seconds of a timeout that must expire, and of one that must not expire.
SHORT, LONG = 0.25, 40.0


@dataclass(frozen=True)
class Fine:
    """The fault has no effect: the response is complete."""

    code: int = 200
    body: bytes = b"fine"

    @property
    def name(self) -> str:
        return str(self.code)


Expected = errors | Fine
TIMEOUTS = (errors.CONNECT_TIMEOUT, errors.REQUEST_TIMEOUT)


@dataclass(frozen=True, eq=False)
class Row:
    """One kind of misbehaviour.

    :arg plays: the plays, or a function that returns them if they are large.
    :arg expected: the result on both transports, or on each by its name.
    :arg why: the reason why the transports differ.
    :arg options: keywords of the fetch. Default of a timeout: `LONG`. A proxy can have a
        port as ``{port}`` or ``{closed}``.
    :arg url: the URL of the fetch, if it is not that of the peer.
    :arg at: the moment when the peer begins. ``"request"``: after a request. ``"kept"``: after
    the second request on a connection. ``"accept"``: at once. ``"proxy"``: after a
    request for any target.
    :arg tls: whether the client uses TLS. At ``"accept"``, the peer does not.
    :arg certificate: the certificate of the peer.
    :arg dns: the behaviour of the name server; see `namespace`.
    :arg resolver: the behaviour of the resolver of the simple transport, instead of DNS.
    :arg transports: the transports that can be tried.
    """

    group: str
    name: str
    plays: tuple[Play, ...] | Callable[[], Iterable[Play]]
    expected: Expected | Mapping[str, Expected]
    why: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    url: str = "{scheme}://127.0.0.1:{port}/{number}"
    at: str = "request"
    tls: bool = False
    certificate: str = "valid"
    dns: str = ""
    resolver: str = ""
    transports: tuple[str, ...] = ("simple", "curl")

    def all_plays(self) -> list[Play]:
        return list(self.plays() if callable(self.plays) else self.plays)

    def expected_of(self, transport: str) -> Expected:
        return self.expected[transport] if isinstance(self.expected, Mapping) else self.expected
