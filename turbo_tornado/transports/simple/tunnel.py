"""`open_tunnel`: makes a proxy connect a socket to the host of a URL."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from tornado.ioloop import IOLoop
from tornado.simple_httpclient import HTTPStreamClosedError

from ...http1.body import Body
from ...http1.parser import ResponseParser
from ...request.proxy import Proxy
from ...request.url import URL
from .connection import READ_SIZE

#: Waits for an event of a socket.
Ready = Callable[[socket.socket, int], Awaitable[None]]


async def open_tunnel(sock: socket.socket, proxy: Proxy, url: URL, ready: Ready) -> None:
    """Open a tunnel on ``sock``, or close ``sock`` on failure.

    :arg sock: connected to the proxy.
    :raises ConnectFailed: if there is no tunnel.
    """
    try:
        try:
            parser = await _response(sock, proxy.connect_head(url), ready)
        except (OSError, HTTPStreamClosedError) as error:
            raise proxy.failed(url, error) from error
        head = parser.head
        assert head is not None
        if not 200 <= head.code < 300:
            raise proxy.refused(url, head.code, head.reason)
        if parser.leftover:
            # The data is not a response: the origin has not received anything.
            raise proxy.failed(url, "it sent data after the response to CONNECT")
    except BaseException:
        sock.close()
        raise


async def _response(sock: socket.socket, request: bytes, ready: Ready) -> ResponseParser:
    while request:
        try:
            request = request[sock.send(request) :]
        except BlockingIOError:
            await ready(sock, IOLoop.WRITE)
    # The response to CONNECT has no body: the tunnel begins after its head.
    parser = ResponseParser(True, lambda head: Body(0))
    while not parser.complete:
        try:
            data = sock.recv(READ_SIZE)
        except BlockingIOError:
            await ready(sock, IOLoop.READ)
            continue
        if data:
            parser.feed(data)
        else:
            parser.end()
    return parser
