"""`Connector`: a new connection by DNS, TCP, the tunnel of a proxy, and TLS."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import ssl
from typing import Any

import aiohappyeyeballs
from tornado.ioloop import IOLoop
from tornado.netutil import Resolver

from ...failures import ConnectFailed, HandshakeFailed
from ...request.proxy import Proxy
from ...request.request import Request
from ...request.url import URL
from .tunnel import open_tunnel
from .watcher import Watcher

# Seconds before the next address is tried as well (RFC 8305, section 5).
_HAPPY_EYEBALLS_DELAY = 0.25
_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK)


class Connector:
    """The connector of the socket of one request.

    Cancelling `connect` closes the socket.

    :arg resolver: resolves the host; ``None`` for a host that is an IP address.
    """

    def __init__(self, watcher: Watcher, resolver: Resolver | None, request: Request) -> None:
        self._watcher = watcher
        self._resolver = resolver
        self._request = request
        # The peer of TCP.
        self._peer: URL | Proxy = request.proxy or request.url
        self._where = self._peer.host_and_port
        # Set by `connect_at_once`; `connect` continues with them.
        self._is_begun = False
        self._pending: socket.socket | None = None
        self._errno = 0
        #: The current phase, for the message of a timeout.
        self.phase = f"while resolving {self._peer.host}"

    def connect_at_once(self) -> socket.socket | None:
        """Return a socket that was connected without waiting, as on a loopback address.

        `connect` continues an attempt that must wait or that fails.
        """
        self._is_begun = True
        host = self._peer.host
        if self._resolver is not None or self._request.source_ip is not None or "%" in host:
            return None
        try:
            family, address = self._ip_address()
            sock = self._pending = socket.socket(family, socket.SOCK_STREAM)
        except (OSError, RuntimeError):
            # `connect` fails in the same way.
            return None
        self.phase = f"while connecting to {self._where}"
        sock.setblocking(False)
        try:
            number = sock.connect_ex(address)
        except RuntimeError:
            # A test tool has disabled the network. `connect` reports it.
            self._pending = None
            sock.close()
            return None
        if number in _IN_PROGRESS:
            # One system call is much cheaper than an iteration of the loop.
            if not _is_writable(sock):
                return None
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._pending = None
        if number:
            sock.close()
            self._errno = number
            return None
        return _without_delay(sock)

    def close(self) -> None:
        """Close the socket of an attempt that `connect` has not taken over."""
        if self._pending is not None:
            self._pending.close()

    async def connect(self, context: ssl.SSLContext | None) -> socket.socket:
        """Return a connected socket, after the TLS handshake if there is a context.

        :raises ConnectFailed: when the host has no address, or none accepts a connection, or the
            proxy does not open a tunnel.
        :raises HandshakeFailed: when the TLS handshake fails.
        """
        sock = None if self._is_begun else self.connect_at_once()
        if sock is None:
            try:
                sock = _without_delay(await self._connect_tcp())
            except (OSError, RuntimeError, UnicodeError) as error:
                # A local variable with the cause would be a reference cycle.
                raise self._connect_failed(_cause(error)) from _cause(error)
        if context is None:
            return sock
        request, self._where = self._request, self._request.url.host_and_port
        if request.proxy is not None:
            self.phase = f"during CONNECT to {self._where} by the proxy {self._peer.host_and_port}"
            await open_tunnel(sock, request.proxy, request.url, self._ready)
        self.phase = f"during TLS handshake with {self._where}"
        try:
            return await self._handshake(sock, context)
        except (OSError, ValueError) as error:
            # ValueError: the host is not a valid name for TLS.
            raise HandshakeFailed(f"TLS handshake with {self._where} failed: {error}") from error

    def _connect_failed(self, cause: Exception) -> ConnectFailed:
        if self._request.proxy is not None:
            return self._request.proxy.failed(self._request.url, cause)
        return ConnectFailed(f"Could not connect to {self._where}: {cause}")

    async def _connect_tcp(self) -> socket.socket:
        if self._errno:
            raise OSError(self._errno, os.strerror(self._errno))
        if self._pending is not None:
            return await self._connected()
        addresses = await self._resolve()
        self.phase = f"while connecting to {self._where}"
        local = None
        source_ip = self._request.source_ip
        if source_ip is not None:
            family = socket.AF_INET6 if ":" in source_ip else socket.AF_INET
            local = [_address_info(family, (source_ip, 0))]
        return await aiohappyeyeballs.start_connection(
            [_address_info(family, address) for family, address in addresses],
            local_addr_infos=local,
            happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY,
        )

    async def _connected(self) -> socket.socket:
        sock, self._pending = self._pending, None
        assert sock is not None
        try:
            await self._ready(sock, IOLoop.WRITE)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _resolve(self) -> list[tuple[int, Any]]:
        if self._resolver is None:
            return [self._ip_address()]
        peer, family = self._peer, socket.AddressFamily(self._request.family)
        addresses = await self._resolver.resolve(peer.host, peer.port, family)
        if not addresses:
            raise OSError("the resolver returned no address")
        return addresses

    def _ip_address(self) -> tuple[int, Any]:
        # Tornado's default resolver also resolves an address in a thread pool, which is most of the
        # cost of a connection.
        peer, family = self._peer, self._request.family
        own_family = socket.AF_INET6 if ":" in peer.host else socket.AF_INET
        if family not in (socket.AF_UNSPEC, own_family):
            raise OSError(f"{peer.host} is not an address of the requested family")
        if "%" not in peer.host:
            return own_family, (peer.host, peer.port)
        address, _, zone = peer.host.partition("%")
        # `int` rejects very long numbers, and the kernel has 32 bits.
        is_index = zone.isdecimal() and len(zone) < 10
        index = int(zone) if is_index else socket.if_nametoindex(zone)
        return own_family, (address, peer.port, 0, index)

    async def _handshake(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        try:
            tls = context.wrap_socket(
                sock,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
                server_hostname=self._request.url.server_name,
            )
        except BaseException:
            sock.close()
            raise
        try:
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._ready(tls, IOLoop.READ)
                except ssl.SSLWantWriteError:
                    await self._ready(tls, IOLoop.WRITE)
                else:
                    return tls
        except BaseException:
            tls.close()
            raise

    async def _ready(self, sock: socket.socket, events: int) -> None:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_events(events: int) -> None:
            if not ready.done():
                ready.set_result(None)

        self._watcher.add(sock, events, on_events)
        try:
            await ready
        finally:
            self._watcher.remove(sock)


def _cause(error: Exception) -> Exception:
    number = getattr(error, "errno", None)
    if not number or isinstance(error, socket.gaierror):
        return error
    # asyncio's message is "Connect call failed" for any error.
    return OSError(number, os.strerror(number))


def _without_delay(sock: socket.socket) -> socket.socket:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _is_writable(sock: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # Windows.
        return bool(select.select([], [sock], [sock], 0)[1])
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(0))


def _address_info(family: int, address: Any) -> Any:
    # The protocol stays 0 because an address can also be the path of a unix socket.
    return (family, socket.SOCK_STREAM, 0, "", address)
