"""Transports: the `AsyncHTTPClient` that carries the hops of an IOLoop.

One transport per IOLoop and kind, made when the first fetch needs it, closed with the
loop, left alone by a forked child.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

#: What says which transport to use: a name, a class, or an instance.
TransportChoice = str | type[AsyncHTTPClient] | AsyncHTTPClient

_by_loop: dict[IOLoop, dict[type[AsyncHTTPClient], AsyncHTTPClient]] = {}
# The last one carries every fetch, whatever its client says: no test reaches the network
# because a client was told which transport to take.
_stubs: list[type[AsyncHTTPClient]] = []


def check(choice: object) -> TransportChoice:
    """Checks what the user said a transport to be.

    :raises TypeError: for anything but a name, a class or an instance.
    :raises ValueError: for an unknown name.
    :raises ImportError: for ``"curl"`` without pycurl.
    """
    if isinstance(choice, AsyncHTTPClient):
        return choice
    if isinstance(choice, type) and issubclass(choice, AsyncHTTPClient):
        return choice
    if not isinstance(choice, str):
        kind = choice if isinstance(choice, type) else type(choice)
        raise TypeError(
            "transport must be 'auto', 'simple', 'curl', an AsyncHTTPClient class or an "
            f"instance of one, not {kind.__name__}"
        )
    if choice not in _NAMED:
        raise ValueError(f"transport must be 'auto', 'simple' or 'curl', not {choice!r}")
    if choice == "curl":
        _curl()
    return choice


@functools.cache
def _simple() -> type[AsyncHTTPClient]:
    from .simple import SimpleTransport

    return SimpleTransport


@functools.cache
def _curl() -> type[AsyncHTTPClient]:
    try:
        from .curl import CurlTransport
    except ImportError as error:
        raise ImportError(
            "transport 'curl' needs pycurl; install it with: pip install 'turbo_tornado[curl]'"
        ) from error
    return CurlTransport


@functools.cache
def _auto() -> type[AsyncHTTPClient]:
    # Asked at the first fetch: only an import shows whether pycurl finds its libcurl.
    try:
        return _curl()
    except ImportError:
        return _simple()


_NAMED: dict[str, Callable[[], type[AsyncHTTPClient]]] = {
    "auto": _auto,
    "simple": _simple,
    "curl": _curl,
}


def transport_for(io_loop: IOLoop, choice: TransportChoice) -> AsyncHTTPClient:
    """Returns the transport of ``io_loop``, made if there is none yet.

    :arg choice: what `check` returned.
    :raises RuntimeError: for an instance that belongs to another loop.
    """
    if _stubs:
        choice = _stubs[-1]
    if isinstance(choice, AsyncHTTPClient):
        if choice.io_loop is not io_loop:
            raise RuntimeError(
                "the transport instance belongs to another IOLoop; make one in each loop, or "
                "give its class instead"
            )
        return choice
    kind = _NAMED[choice]() if isinstance(choice, str) else choice
    transport = _by_loop.get(io_loop, {}).get(kind)
    if transport is not None:
        return transport
    transport = _made_in(io_loop, kind)
    if io_loop not in _by_loop:
        _by_loop[io_loop] = {}
        _close_with(io_loop)
    _by_loop[io_loop][kind] = transport
    return transport


def put_stub(kind: type[AsyncHTTPClient]) -> None:
    """Makes ``kind`` carry every fetch in the place of what was chosen."""
    _stubs.append(kind)


def take_stub(kind: type[AsyncHTTPClient]) -> None:
    """Undoes `put_stub`; the transports that were made of ``kind`` are closed."""
    _stubs.remove(kind)
    for io_loop, made in list(_by_loop.items()):
        transport = made.pop(kind, None)
        if transport is not None:
            # In its own thread, where it may be at work.
            io_loop.add_callback(transport.close)


def _made_in(io_loop: IOLoop, kind: type[AsyncHTTPClient]) -> AsyncHTTPClient:
    current = IOLoop.current(instance=False)
    if current is io_loop:
        return kind(force_instance=True)
    # A loop that was given and has not been started yet.
    asyncio.set_event_loop(_asyncio_loop(io_loop))
    try:
        return kind(force_instance=True)
    finally:
        asyncio.set_event_loop(None if current is None else _asyncio_loop(current))


def _asyncio_loop(io_loop: Any) -> asyncio.AbstractEventLoop:
    return io_loop.asyncio_loop  # type: ignore[no-any-return]


def _close_with(io_loop: IOLoop) -> None:
    # Neither asyncio nor Tornado tells anybody that a loop is being closed. Both ways of
    # doing so end in this method of the asyncio loop.
    loop: Any = _asyncio_loop(io_loop)
    original = loop.close

    def close() -> None:
        try:
            if io_loop in _by_loop and not loop.is_running():
                ours = any(hasattr(kind, "accepts_hops") for kind in _by_loop[io_loop])
                _close(io_loop)
                if ours and asyncio._get_running_loop() is None:
                    # Those whose fetches have just ended are told by the loop. Tornado's
                    # clients end none, and one of them does not bear to run on.
                    loop.run_until_complete(asyncio.sleep(0))
        finally:
            original()

    loop.close = close


def _close(io_loop: IOLoop) -> None:
    for transport in _by_loop.pop(io_loop, {}).values():
        transport.close()


def _forget_parent() -> None:
    if _by_loop:
        # Taken apart in the child, be it at its exit, the transports would say goodbye
        # on connections that the parent still uses. A reference too many prevents it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_by_loop.copy()))
        _by_loop.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=_forget_parent)
