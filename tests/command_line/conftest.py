from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import pytest

from tests.support import StartProgram
from turbo_tornado.__main__ import main


class Ended(NamedTuple):
    code: int
    out: bytes
    err: str


Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run the command line in a thread, where it has a separate loop."""

    def call(argv: tuple[str, ...]) -> int:
        try:
            return main(argv)
        except SystemExit as end:
            return int(end.code or 0)

    async def run(*argv: str) -> Ended:
        code = await asyncio.to_thread(call, argv)
        captured = capsysbinary.readouterr()
        return Ended(code, captured.out, captured.err.decode())

    return run


@pytest.fixture
def start(start_program: StartProgram, monkeypatch: pytest.MonkeyPatch) -> StartProgram:
    """Start the command line as a process, with the buffers that it has by default."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    return partial(start_program, sys.executable, "-m", "turbo_tornado", stdin=PIPE)
