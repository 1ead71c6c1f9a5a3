"""The table of faults, row by row, on each transport."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import socket
import zlib
from typing import Any

import pytest

from tests.support.certificates import Certificates

from . import namespace, page
from .leftovers import PeakMemory, Snapshot, can_measure
from .row import Row
from .runner import Outcome, reason_against, run
from .table import GIB, TABLE, bomb

HAS_CURL = importlib.util.find_spec("pycurl") is not None


def case(row: Row, transport: str) -> Any:
    marks = [pytest.mark.kept] if row.at == "kept" else []
    if transport == "curl" and not HAS_CURL:
        marks.append(pytest.mark.skip("pycurl is not installed"))
    return pytest.param(row, transport, id=f"{transport}-{row.group}: {row.name}", marks=marks)


CASES = [case(row, transport) for row in TABLE for transport in row.transports]


dns_outcomes = functools.cache(namespace.outcomes)


@pytest.mark.parametrize(("row", "transport"), CASES)
async def test_fault(row: Row, transport: str, certificates: Certificates) -> None:
    if reason := reason_against(row):
        pytest.skip(reason)
    if row.dns:
        outcome = Outcome(**dns_outcomes(transport)[row.name])
    else:
        outcome = await run(row, transport, certificates)
    assert not outcome.violations, "\n".join(outcome.violations)


# The table and its checks


def test_table() -> None:
    names = [(row.group, row.name) for row in TABLE]
    assert len(names) == len(set(names)) >= 70
    for row in TABLE:
        assert row.all_plays(), row.name
        differs = row.expected_of("simple") != row.expected_of("curl")
        assert bool(row.why) == (differs or len(row.transports) == 1), row.name


def test_page_shows_the_table() -> None:
    assert page.read() == page.outline()


def test_bomb() -> None:
    packed = bomb(GIB)
    assert len(packed) < GIB / 900
    decoder = zlib.decompressobj(31)
    pieces = (packed[at : at + 4096] for at in range(0, len(packed), 4096))
    size = sum(len(decoder.decompress(piece)) for piece in pieces)
    # At its end zlib has compared length and checksum.
    assert (size, decoder.eof) == (GIB, True)


@pytest.mark.skipif(not can_measure(), reason="the system does not tell")
async def test_leftovers_are_seen() -> None:
    loop = asyncio.get_running_loop()
    before = Snapshot.take()
    assert not Snapshot.take().left_since(before)
    opened = socket.socket()
    timer = loop.call_later(100, print)
    future = loop.create_future()
    task = loop.create_task(asyncio.sleep(100))
    expected = {"descriptor", "task", "pending future"}
    if hasattr(loop, "_scheduled"):
        expected.add("timer")
    try:
        assert Snapshot.take().left_since(before).keys() == expected
    finally:
        opened.close()
        timer.cancel()
        future.cancel()
        task.cancel()


@pytest.mark.skipif(not can_measure(), reason="the system does not tell")
def test_memory_that_was_free_again_is_seen() -> None:
    memory = PeakMemory()
    held = b"x" * 50_000_000
    del held
    assert memory.growth() > 45_000_000
