"""Transports: the `AsyncHTTPClient` that carries the hops of an IOLoop.

One transport per IOLoop and kind, made when the first fetch needs it, closed with the
loop, left alone by a forked child.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Callable
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

#: What says which transport to use: a name, a class, or an instance.
TransportChoice = str | type[AsyncHTTPClient] | AsyncHTTPClient

_by_loop: dict[IOLoop, dict[TransportChoice, AsyncHTTPClient]] = {}
# Of the parent process: closing them in a forked child would say goodbye on
# connections that the parent still uses.
_abandoned: list[object] = []


def check(choice: object) -> TransportChoice:
    """Checks what the user said a transport to be, and makes ``"auto"`` a name.

    :raises TypeError: for anything but a name, a class or an instance.
    :raises ValueError: for an unknown name.
    :raises ImportError: for ``"curl"`` without pycurl.
    """
    if isinstance(choice, AsyncHTTPClient):
        return choice
    if isinstance(choice, type) and issubclass(choice, AsyncHTTPClient):
        return choice
    if not isinstance(choice, str):
        raise TypeError(
            "transport must be 'auto', 'simple', 'curl', an AsyncHTTPClient class or an "
            f"instance of one, not {choice!r}"
        )
    if choice == "auto":
        return "curl" if importlib.util.find_spec("pycurl") is not None else "simple"
    if choice not in _NAMED:
        raise ValueError(f"transport must be 'auto', 'simple' or 'curl', not {choice!r}")
    _NAMED[choice]()
    return choice


def _simple() -> type[AsyncHTTPClient]:
    from .simple import SimpleTransport

    return SimpleTransport


def _curl() -> type[AsyncHTTPClient]:
    try:
        from .curl import CurlTransport
    except ImportError as error:
        raise ImportError(
            "transport 'curl' needs pycurl; install it with: pip install 'turbo_tornado[curl]'"
        ) from error
    return CurlTransport


_NAMED: dict[str, Callable[[], type[AsyncHTTPClient]]] = {"simple": _simple, "curl": _curl}


def transport_for(io_loop: IOLoop, choice: TransportChoice) -> AsyncHTTPClient:
    """Returns the transport of ``io_loop``, made if there is none yet.

    :arg choice: what `check` returned.
    :raises RuntimeError: for an instance that belongs to another loop.
    """
    transport = _by_loop.get(io_loop, {}).get(choice)
    if transport is not None:
        return transport
    if isinstance(choice, AsyncHTTPClient):
        if choice.io_loop is not io_loop:
            raise RuntimeError(
                "the transport instance belongs to another IOLoop; make one in each loop, or "
                "give its class instead"
            )
        return choice
    kind = _NAMED[choice]() if isinstance(choice, str) else choice
    transport = _made_in(io_loop, kind)
    if io_loop not in _by_loop:
        _by_loop[io_loop] = {}
        _when_closed(io_loop, lambda: _close(io_loop))
    _by_loop[io_loop][choice] = transport
    return transport


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


def _when_closed(io_loop: IOLoop, close: Callable[[], None]) -> None:
    # Neither asyncio nor Tornado tells anybody that a loop is being closed. Both ways of
    # doing so end in this method of the asyncio loop.
    loop: Any = _asyncio_loop(io_loop)
    original = loop.close

    def close_all() -> None:
        close()
        original()

    loop.close = close_all


def _close(io_loop: IOLoop) -> None:
    for transport in _by_loop.pop(io_loop, {}).values():
        transport.close()


def _forget_parent() -> None:
    if _by_loop:
        _abandoned.append(dict(_by_loop))
        _by_loop.clear()


os.register_at_fork(after_in_child=_forget_parent)
