"""The acts of a peer in the table of faults."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support import Connection

# Limit of the bytes that a peer sends. It exceeds the buffers of both sides, and the amount that
# a client can receive before its timeout expires.
_ENDLESS = 4_000_000_000


class Act(enum.Enum):
    #: End the connection in order, over TLS with close_notify.
    CLOSE = enum.auto()
    #: End it with RST.
    RESET = enum.auto()
    #: End TCP in order, without the end of TLS.
    TRUNCATE = enum.auto()
    #: Stop reading and writing.
    FREEZE = enum.auto()
    #: Continue without reading the rest of the request.
    UNREAD = enum.auto()


@dataclass(frozen=True)
class Endless:
    """Send ``piece`` for as long as the client takes it, every ``pause`` seconds."""

    piece: bytes
    pause: float = 0.0


@dataclass(frozen=True)
class Raw:
    """Send bytes past TLS."""

    data: bytes


@dataclass(frozen=True)
class Handshake:
    """Respond to a ClientHello with the first ``part`` (0 to 1) of a TLS handshake.

    :arg bool spoilt: send all of it, with the byte at ``part`` changed.
    """

    part: float
    spoilt: bool = False


#: One act. Bytes are sent. In them, ``<port>``, ``<sane>``, ``<closed>`` and ``<blackhole>`` stand
#: for ports: of this peer, of a correct peer, without a listener, and with a full backlog.
Step = bytes | Act | Endless | Raw | Handshake
#: The steps on one connection, in order. After the last step, the peer keeps the connection
#: open and responds to further requests, unless it has closed it.
Play = tuple[Step, ...]

CLOSE, RESET, TRUNCATE, FREEZE, UNREAD = Act


def cuts(before: bytes, part: bytes, then: Play = (CLOSE,), first: int = 0) -> Iterable[Play]:
    """Yield plays that send ``before`` and then ``part`` up to each of its bytes."""
    for end in range(first, len(part)):
        yield (before + part[:end], *then)


async def perform(
    conn: Connection, play: Play, ports: dict[bytes, int], context: ssl.SSLContext
) -> bool:
    """Perform ``play``, and return whether the connection is still open."""
    for step in play:
        if isinstance(step, bytes):
            await conn.send(_with_ports(step, ports))
        elif isinstance(step, Endless):
            await _send_endlessly(conn, step)
        elif isinstance(step, Raw):
            os.write(_descriptor(conn), step.data)
        elif isinstance(step, Handshake):
            await _shake_hands(conn, step, context)
        elif step is CLOSE:
            conn.close()
            return False
        elif step is RESET:
            conn.reset()
            return False
        elif step is TRUNCATE:
            # uvloop's substitute for a socket does not support shutdown.
            own = socket.socket(fileno=os.dup(_descriptor(conn)))
            with own, contextlib.suppress(OSError):
                own.shutdown(socket.SHUT_WR)
            return False
        elif step is FREEZE:
            conn.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
    return True


def _descriptor(conn: Connection) -> int:
    number: int = conn.writer.get_extra_info("socket").fileno()
    return number


def _with_ports(data: bytes, ports: dict[bytes, int]) -> bytes:
    if b"<" in data[:1000]:
        for name, port in ports.items():
            data = data.replace(b"<%b>" % name, b"%d" % port)
    return data


async def _send_endlessly(conn: Connection, endless: Endless) -> None:
    sent = 0
    while True:
        await conn.send(endless.piece)
        sent += len(endless.piece)
        assert sent < _ENDLESS, "the client takes everything"
        # Also with a delay of 0: until the next iteration, uvloop drops data that is written to a
        # closed TLS connection.
        await asyncio.sleep(endless.pause)


async def _shake_hands(conn: Connection, step: Handshake, context: ssl.SSLContext) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    while not outgoing.pending:
        data = await conn.reader.read(65536)
        if not data:
            raise EOFError
        incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
    flight = bytearray(outgoing.read())
    position = int(len(flight) * step.part)
    if step.spoilt:
        flight[position] ^= 0x55
        await conn.send(bytes(flight))
    else:
        await conn.send(bytes(flight[:position]))
