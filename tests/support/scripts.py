"""Scripts of a `RawPeer`."""

from __future__ import annotations

import asyncio

from .peer import Connection, Script, response


def redirecting(code: int, body: bytes = b"") -> Script:
    """Return a script that redirects each request to ``/final``."""

    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            if request.target == "/final":
                await conn.send(response(b"final"))
            else:
                await conn.send(response(body, "Location: /final", status=f"{code} Moved"))

    return script


async def closes_at_second_request(conn: Connection) -> None:
    """Close the first connection when its second request has arrived."""
    await conn.read_request()
    await conn.send(response(b"ok"))
    if conn.number == 1:
        await conn.read_request()
        conn.close()


def answers_only_get(closed: asyncio.Event) -> Script:
    """Return a script that waits for the end of any other request, and sets ``closed``."""

    async def script(conn: Connection) -> None:
        while (await conn.reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
            await conn.send(response(b"ok"))
        await conn.wait_closed_by_client()
        closed.set()

    return script
