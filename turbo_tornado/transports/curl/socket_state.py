"""`read_state`: the state of a socket of libcurl in the kernel."""

from __future__ import annotations

import socket
import sys
from typing import NamedTuple

#: Host and port of both ends of a connection, the local one first.
Address = tuple[str, int, str, int]


class SocketState(NamedTuple):
    """The state of a TCP socket."""

    #: Identifies the socket. A descriptor does not: libcurl closes sockets without notice, and
    #: another socket can get the same number.
    identity: object
    #: Whether neither side has closed the connection.
    is_open: bool
    #: Bytes that have arrived and that libcurl has not read.
    unread: int
    #: Bytes that have arrived; ``None`` if the system does not count them.
    received: int | None


if sys.platform == "linux":
    import fcntl
    import termios

    #: Whether `SocketState.received` is known.
    COUNTS_RECEIVED = True

    # asm-generic/socket.h
    _SO_COOKIE = 57
    # struct tcp_info of linux/tcp.h: tcpi_state and tcpi_bytes_received
    _STATE, _BYTES_RECEIVED, _INFO_SIZE = 0, slice(128, 136), 136
    _ESTABLISHED = 1
    _ENDIANNESS = sys.byteorder

    def _state(sock: socket.SocketType, fd: int) -> SocketState:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
        is_open = info[_STATE] == _ESTABLISHED
        received = int.from_bytes(info[_BYTES_RECEIVED], _ENDIANNESS)
        if not is_open:
            # A FIN counts as a byte. For a reset connection, the kernel does not report
            # whether there was one.
            received -= 1
        # After `received`: `received - unread` is never more than the bytes that libcurl has
        # read, also while data arrives.
        size = bytearray(4)
        fcntl.ioctl(fd, termios.FIONREAD, size, True)
        unread = int.from_bytes(size, _ENDIANNESS)
        identity = sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
        return SocketState(identity, is_open, unread, received)

else:
    COUNTS_RECEIVED = False

    def _state(sock: socket.SocketType, fd: int) -> SocketState:
        # With socket.setdefaulttimeout(), `recv` would wait.
        sock.setblocking(False)
        identity = _address(sock)
        try:
            unread = len(sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return SocketState(identity, True, 0, None)
        return SocketState(identity, unread > 0, unread, None)


def read_state(fd: int) -> SocketState | None:
    """Return the state of a socket, ``None`` if ``fd`` is not a connected TCP socket."""
    try:
        sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        try:
            return _state(sock, fd)
        finally:
            # The descriptor belongs to libcurl.
            sock.detach()
    except (OSError, ValueError):
        return None


def has_address(fd: int, address: Address) -> bool:
    """Return whether a socket has the ports of ``address``."""
    try:
        sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        try:
            local, peer = _address(sock)
        finally:
            sock.detach()
    except (OSError, ValueError):
        return False
    return (local[1], peer[1]) == (address[1], address[3])


def _address(sock: socket.SocketType) -> tuple[tuple[str, int], tuple[str, int]]:
    return sock.getsockname()[:2], sock.getpeername()[:2]
