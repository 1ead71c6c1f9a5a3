"""Fetches of a process that has used all of its file descriptors."""

from __future__ import annotations

import sys

import pytest

from tests.support import MakePeer, RunPython, response

PROGRAM = """
import asyncio, contextlib, os, resource, sys
from turbo_tornado import HTTPClient, errors

transport, url = sys.argv[1:]

async def fetch(**options):
    return await HTTPClient(transport=transport).fetch(url, **options)

def take_all():
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    return taken

async def main():
    assert (await fetch()).body == b"good"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken = take_all()
    # The idle connection needs no descriptor.
    assert (await fetch()).body == b"good"
    res = await fetch(keep_alive=False)
    assert res.error.code is errors.COULD_NOT_CONNECT, res.error
    assert res.request_time < 15_000
    for fd in taken[:2]:
        os.close(fd)
    results = await asyncio.gather(*(fetch(keep_alive=False) for _ in range(20)))
    outcomes = {res.error.code if res.error else res.code for res in results}
    assert outcomes <= {200, errors.COULD_NOT_CONNECT}, outcomes
    for fd in taken[2:]:
        os.close(fd)
    results = await asyncio.gather(*(fetch(keep_alive=False) for _ in range(20)))
    assert all(res.body == b"good" for res in results), [res.error for res in results]

asyncio.run(main())
"""


@pytest.mark.kept
@pytest.mark.skipif(sys.platform != "linux", reason="needs the limit of Linux")
async def test_closing_leaves_no_descriptor_open(
    transport: str, raw_peer: MakePeer, run_python: RunPython
) -> None:
    peer = await raw_peer(response(b"good"))
    await run_python(PROGRAM, transport, peer.url())
