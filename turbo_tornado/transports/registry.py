"""`Registry`: which transport carries a fetch, and how long the transport lives."""

from __future__ import annotations

import asyncio
import ctypes
import os
from typing import Any, cast

from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from ..failures import ConnectFailed
from .base import CancellableFetch, Transport, asyncio_loop
from .foreign import ForeignTransport, HookedTransport

#: A transport as a user names it.
TransportChoice = str | type[AsyncHTTPClient] | AsyncHTTPClient

_NAMES = ("auto", "simple", "curl")


def check_transport(choice: object) -> TransportChoice:
    """Checks a user's choice of a transport.

    :raises TypeError: for anything but a name, a class or an instance.
    :raises ValueError: for an unknown name.
    :raises ImportError: for ``"curl"`` without pycurl.
    """
    if isinstance(choice, str):
        if choice not in _NAMES:
            raise ValueError(f"transport must be 'auto', 'simple' or 'curl', not {choice!r}")
        if choice == "curl":
            _curl()
        return choice
    if isinstance(choice, AsyncHTTPClient):
        return choice
    if isinstance(choice, type) and issubclass(choice, AsyncHTTPClient):
        return choice
    kind = choice if isinstance(choice, type) else type(choice)
    raise TypeError(
        "transport must be 'auto', 'simple', 'curl', an AsyncHTTPClient class or an "
        f"instance of one, not {kind.__name__}"
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


def _curl_for_http2() -> str:
    try:
        _curl()
    except ImportError as error:
        raise ValueError(
            "http_version 'HTTP/2' needs pycurl 7.45.7 or newer; install it with: "
            "pip install 'turbo_tornado[curl]'"
        ) from error
    return "curl"


def _as_transport(client: AsyncHTTPClient) -> Transport:
    if hasattr(client, "send"):
        return cast(Transport, client)
    return ForeignTransport(client)


def _with_hooks(transport: Transport) -> Transport:
    if isinstance(transport, CancellableFetch) and transport.is_hooked:
        return HookedTransport(transport)
    return transport


class Registry:
    """The transports: one for each IOLoop and class, created when the first fetch needs it.

    A transport is closed together with its loop. A forked child does not use the transports
    of its parent.
    """

    def __init__(self) -> None:
        self.default: TransportChoice = "auto"
        self._clients: dict[IOLoop, dict[type[AsyncHTTPClient], AsyncHTTPClient]] = {}
        # By name or class, as the fetches ask for them.
        self._transports: dict[IOLoop, dict[str | type[AsyncHTTPClient], Transport]] = {}
        # The last stub carries every fetch, also where a client names its transport: a test
        # with a stub never reaches the network.
        self._stubs: list[type[AsyncHTTPClient]] = []

    def transport_for(
        self, io_loop: IOLoop, choice: TransportChoice | None, http_version: str
    ) -> Transport:
        """Returns the transport of a fetch, creating it if necessary.

        :arg choice: a result of `check_transport`, or ``None`` for the default.
        :arg http_version: the version that the fetch asks for.
        :raises RuntimeError: for an instance that belongs to another loop.
        :raises ValueError: for ``"auto"`` with HTTP/2 and without pycurl.
        """
        if self._stubs:
            choice = self._stubs[-1]
        elif choice is None:
            choice = self.default
        if choice == "auto" and http_version == "HTTP/2":
            choice = _curl_for_http2()
        if isinstance(choice, AsyncHTTPClient):
            if choice.io_loop is not io_loop:
                raise RuntimeError(
                    "the transport instance belongs to another IOLoop; create one in each "
                    "loop, or pass its class"
                )
            return _with_hooks(_as_transport(choice))
        transports = self._transports.get(io_loop)
        if transports is None:
            transports = self._transports[io_loop] = {}
            self._close_with(io_loop)
        transport = transports.get(choice)
        if transport is None:
            transport = transports[choice] = _as_transport(self._client_for(io_loop, choice))
        return _with_hooks(transport)

    def _client_for(self, io_loop: IOLoop, choice: str | type[AsyncHTTPClient]) -> AsyncHTTPClient:
        kind = _class_of(choice) if isinstance(choice, str) else choice
        clients = self._clients.setdefault(io_loop, {})
        client = clients.get(kind)
        if client is None:
            try:
                client = clients[kind] = _create_in(io_loop, kind)
            except OSError as error:
                # Most likely there are too many open files.
                raise ConnectFailed(f"Could not create {kind.__name__}: {error}") from error
        return client

    def clients_of(self, io_loop: IOLoop) -> list[AsyncHTTPClient]:
        """Returns the clients that were created for a loop."""
        return [*self._clients.get(io_loop, {}).values()]

    def add_stub(self, kind: type[AsyncHTTPClient]) -> None:
        """Makes ``kind`` carry every fetch, whatever transport it asks for."""
        self._stubs.append(kind)

    def remove_stub(self, kind: type[AsyncHTTPClient]) -> None:
        """Undoes `add_stub` and closes the transports of this class."""
        self._stubs.remove(kind)
        for io_loop, clients in list(self._clients.items()):
            client = clients.pop(kind, None)
            self._transports[io_loop].pop(kind, None)
            if client is not None:
                # Another thread may be running the loop.
                io_loop.add_callback(client.close)

    def close(self, io_loop: IOLoop) -> None:
        """Closes the transports of a loop."""
        self._transports.pop(io_loop, None)
        for client in self._clients.pop(io_loop, {}).values():
            client.close()

    def _close_with(self, io_loop: IOLoop) -> None:
        # Neither asyncio nor Tornado announces the end of a loop. Both ways of closing one
        # end in this method of the asyncio loop.
        loop: Any = asyncio_loop(io_loop)
        original = loop.close

        def close() -> None:
            try:
                if io_loop in self._clients and not loop.is_running():
                    clients = self.clients_of(io_loop)
                    self.close(io_loop)
                    if asyncio._get_running_loop() is None:
                        # Tornado's own clients do not fail their requests, and its curl
                        # client raises if the loop runs on.
                        for client in clients:
                            if isinstance(client, CancellableFetch):
                                loop.run_until_complete(client.wait_closed())
            finally:
                original()

        loop.close = close

    def forget_parent(self) -> None:
        """Drops the transports that a forked child has inherited."""
        if self._clients:
            # Finalizing them would close TLS sessions that the parent still uses. One
            # reference too many prevents that, even at the exit of the child.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._clients.copy()))
            self._clients.clear()
        self._transports.clear()


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
    os.register_at_fork(after_in_child=registry.forget_parent)
