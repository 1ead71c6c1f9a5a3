"""`Registry`: the choice of a transport, and the lifetime of transports.

This module uses private names of Tornado: ``_closed``, which is true for an `AsyncHTTPClient`
that refuses requests, and ``_DEFAULTS``, the defaults of every `AsyncHTTPClient`.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from typing import Any, Literal, cast

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.ioloop import IOLoop

from ..failures import ConnectFailed
from ..messages import quoted
from ..request.request import Request
from .base import CLOSED, Abort, CancellableFetch, OnDone, Transport
from .foreign import SUPPORTED_DEFAULTS, ForeignTransport, check_request
from .hooked import HookedTransport
from .loop_end import asyncio_loop, close_with_loop

#: A transport as a user names it.
TransportChoice = Literal["auto", "simple", "curl"] | type[AsyncHTTPClient] | AsyncHTTPClient

_NAMES = ("auto", "simple", "curl")


def check_transport(choice: object) -> TransportChoice:
    """Check a user's choice of a transport.

    :raises TypeError: if it is not a name, a class or an instance.
    :raises ValueError: for an unknown name, or an instance with unsupported ``defaults``.
    :raises ImportError: for ``"curl"`` without pycurl.
    """
    if isinstance(choice, str):
        if choice not in _NAMES:
            raise ValueError(f"transport must be 'auto', 'simple' or 'curl', not {quoted(choice)}")
        if choice == "curl":
            _curl()
        return choice  # type: ignore[return-value]
    if isinstance(choice, AsyncHTTPClient):
        check_defaults(choice)
        return choice
    if isinstance(choice, type) and issubclass(choice, AsyncHTTPClient):
        return choice
    kind = choice if isinstance(choice, type) else type(choice)
    raise TypeError(
        "transport must be 'auto', 'simple', 'curl', an AsyncHTTPClient class or an "
        f"instance of one, not {kind.__name__}"
    )


def check_defaults(client: AsyncHTTPClient) -> None:
    """Check the ``defaults`` of a client. A fetch sets almost everything itself.

    :raises ValueError: for a default that a fetch would ignore, or that would send credentials
        to the target of a redirect.
    """
    supported = frozenset() if hasattr(client, "send") else SUPPORTED_DEFAULTS
    for name, value in getattr(client, "defaults", {}).items():
        if value not in (None, HTTPRequest._DEFAULTS.get(name)) and name not in supported:
            raise ValueError(
                f"HTTPClient does not support the default {name!r} of {type(client).__name__}; "
                "use the keywords of fetch or of configure"
            )


def _simple() -> type[AsyncHTTPClient]:
    from .simple import SimpleTransport

    return SimpleTransport


def _curl() -> type[AsyncHTTPClient]:
    try:
        from .curl import CurlTransport
    except ImportError as error:
        raise ImportError(
            "transport 'curl' needs pycurl 7.45.7 or newer; install it with: "
            "pip install 'turbo_tornado[curl]'"
        ) from error
    return CurlTransport


def _class_of(name: str) -> type[AsyncHTTPClient]:
    return _curl() if name == "curl" else _simple()


def _curl_for_http2() -> Literal["curl"]:
    try:
        _curl()
    except ImportError as error:
        raise ValueError(
            "http_version 'HTTP/2' needs pycurl 7.45.7 or newer; install it with: "
            "pip install 'turbo_tornado[curl]'"
        ) from error
    return "curl"


def check_supported(choice: TransportChoice, request: Request) -> None:
    """Check that a transport supports a request, without creating the transport.

    :arg choice: a result of `check_transport`.
    :raises ValueError: for an unsupported request.
    :raises HandshakeFailed: for unusable TLS settings.
    :raises RuntimeError: for a closed transport.
    """
    if isinstance(choice, AsyncHTTPClient) and choice._closed and not request.is_accepted:
        raise RuntimeError(CLOSED)
    if choice == "auto" and request.version == "HTTP/2":
        choice = _curl_for_http2()
    kind: Any = choice if isinstance(choice, type) else type(choice)
    if isinstance(choice, str):
        kind = _class_of(choice)
    elif kind is AsyncHTTPClient:
        # The base class creates an instance of the configured class.
        kind = AsyncHTTPClient.configured_class()
    if not hasattr(kind, "send"):
        check_request(kind, request)
    elif hasattr(kind, "check_request"):
        kind.check_request(request)


class _StubbedTransport:
    """A stub that refuses the same requests as the transport that it replaces."""

    #: The stub itself can be hooked.
    is_hooked = False

    def __init__(self, stub: Transport, choice: TransportChoice) -> None:
        self._stub = stub
        self._choice = choice

    def send(self, request: Request, on_done: OnDone) -> Abort:
        check_supported(self._choice, request)
        return self._stub.send(request, on_done)


def _as_transport(client: AsyncHTTPClient) -> Transport:
    if hasattr(client, "send"):
        return cast(Transport, client)
    return ForeignTransport(client)


class _Member:
    """The transports of one loop, as a member of `close_with_loop`."""

    def __init__(self, registry: Registry, io_loop: IOLoop) -> None:
        self._registry = registry
        self._io_loop = io_loop

    # The built-in transports are members themselves. Stock clients do not fail their requests,
    # and Tornado's curl client raises if the loop runs on.
    wait_closed = None

    def fail_requests(self) -> None:
        self._registry.close(self._io_loop)


def _with_hooks(transport: Transport) -> Transport:
    if transport.is_hooked:
        return HookedTransport(cast("CancellableFetch", transport))
    return transport


class Registry:
    """The transports: one for each IOLoop and class, created by the first fetch.

    A transport is closed together with its loop. A forked child does not use the transports
    of its parent.
    """

    def __init__(self) -> None:
        self.default: TransportChoice = "auto"
        self._clients: dict[IOLoop, dict[type[AsyncHTTPClient], AsyncHTTPClient]] = {}
        # By the name or the class in the call of a fetch.
        self._transports: dict[IOLoop, dict[str | type[AsyncHTTPClient], Transport]] = {}
        # Keeps the members alive, because `close_with_loop` has weak references only.
        self._members: dict[IOLoop, _Member] = {}
        # The last stub carries every fetch, also where a client names its transport: a test
        # with a stub never reaches the network.
        self._stubs: list[type[AsyncHTTPClient]] = []

    def transport_for(
        self, io_loop: IOLoop, choice: TransportChoice | None, http_version: str
    ) -> Transport:
        """Return the transport of a fetch, creating it if necessary.

        :arg choice: a result of `check_transport`, or ``None`` for the default.
        :arg http_version: the version that the fetch asks for.
        :raises RuntimeError: for an instance that belongs to another loop.
        :raises ValueError: for ``"auto"`` with HTTP/2 and without pycurl.
        """
        if choice is None:
            choice = self.default
        if choice == "auto" and http_version == "HTTP/2":
            choice = _curl_for_http2()
        if isinstance(choice, AsyncHTTPClient) and choice.io_loop is not io_loop:
            raise RuntimeError(
                "the transport instance belongs to another IOLoop; create one in each "
                "loop, or pass its class"
            )
        if self._stubs:
            stub = self._transport_of(io_loop, self._stubs[-1])
            return _StubbedTransport(_with_hooks(stub), choice)
        if isinstance(choice, AsyncHTTPClient):
            return _with_hooks(_as_transport(choice))
        try:
            transport = self._transports[io_loop][choice]
        except KeyError:
            transport = self._transport_of(io_loop, choice)
        return _with_hooks(transport) if transport.is_hooked else transport

    def _transport_of(self, io_loop: IOLoop, choice: str | type[AsyncHTTPClient]) -> Transport:
        transports = self._transports.get(io_loop)
        if transports is None:
            transports = self._transports[io_loop] = {}
            member = self._members[io_loop] = _Member(self, io_loop)
            close_with_loop(asyncio_loop(io_loop), member)
        transport = transports.get(choice)
        if transport is None:
            transport = transports[choice] = _as_transport(self._client_for(io_loop, choice))
        return transport

    def _client_for(self, io_loop: IOLoop, choice: str | type[AsyncHTTPClient]) -> AsyncHTTPClient:
        kind = _class_of(choice) if isinstance(choice, str) else choice
        clients = self._clients.setdefault(io_loop, {})
        client = clients.get(kind)
        if client is None:
            try:
                client = _create_in(io_loop, kind)
            except OSError as error:
                # The usual cause is too many open files.
                raise ConnectFailed(f"Could not create {kind.__name__}: {error}") from error
            try:
                check_defaults(client)
            except ValueError:
                client.close()
                raise
            clients[kind] = client
        return client

    def clients_of(self, io_loop: IOLoop) -> list[AsyncHTTPClient]:
        """Return the clients that were created for a loop."""
        return [*self._clients.get(io_loop, {}).values()]

    def add_stub(self, kind: type[AsyncHTTPClient]) -> None:
        """Make ``kind`` carry every fetch, also one with another transport."""
        self._stubs.append(kind)

    def remove_stub(self, kind: type[AsyncHTTPClient]) -> None:
        """Undo `add_stub` and close the transports of this class."""
        self._stubs.remove(kind)
        for io_loop, clients in list(self._clients.items()):
            client = clients.pop(kind, None)
            self._transports[io_loop].pop(kind, None)
            if client is not None:
                # Another thread may be running the loop.
                io_loop.add_callback(_end, client)

    def close(self, io_loop: IOLoop) -> None:
        """Close the transports of a loop."""
        self._members.pop(io_loop, None)
        self._transports.pop(io_loop, None)
        for client in self._clients.pop(io_loop, {}).values():
            _end(client)

    def drop_inherited(self) -> None:
        """Drop the transports that a forked child has inherited."""
        if self._clients:
            # Finalizing them would close TLS sessions that the parent still uses. One
            # reference too many prevents that, even at the exit of the child.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._clients.copy()))
            self._clients.clear()
        self._transports.clear()
        self._members.clear()


def _end(client: AsyncHTTPClient) -> None:
    # Nothing finishes after the end of the loop.
    if isinstance(client, CancellableFetch):
        client.fail_requests()
    else:
        client.close()


def _create_in(io_loop: IOLoop, kind: type[AsyncHTTPClient]) -> AsyncHTTPClient:
    current = IOLoop.current(instance=False)
    if current is io_loop:
        return kind(force_instance=True)
    # The loop has not been started yet.
    asyncio.set_event_loop(asyncio_loop(io_loop))
    try:
        return kind(force_instance=True)
    finally:
        asyncio.set_event_loop(None if current is None else asyncio_loop(current))


registry = Registry()

if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=registry.drop_inherited)
