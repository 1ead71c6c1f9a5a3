"""A short run of the soak test, which detects a leak of one object for each fetch."""

from __future__ import annotations

import json
import os
import sys
from asyncio.subprocess import STDOUT
from pathlib import Path

import pytest

from tests.support import StartProgram

from .run import main
from .ways import FAILURES

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nothing to count by"),
    # This many fetches take longer than the usual timeout on a busy machine.
    pytest.mark.timeout(300),
]


async def test_soak(transport: str, tmp_path: Path, start_program: StartProgram) -> None:
    found = tmp_path / "found.json"
    process = await start_program(
        sys.executable,
        *("-m", "tests.soak", "--transport", transport, "--output", str(found)),
        *("--fetches", "2200", "--every", "5", "--in-flight", "1000"),
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    [result] = json.loads(found.read_text())
    assert result["wrong"] == []
    # Each kind of failure has occurred more often than the allowed growth.
    assert set(result["way"]["failed"]) == set(FAILURES)
    assert min(result["way"]["failed"].values()) > 10


def test_more_fetches_than_file_descriptors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--in-flight", "1000000000"]) == 2
    assert "ulimit" in capsys.readouterr().err


async def test_stale_responses(transport: str, start_program: StartProgram) -> None:
    process = await start_program(
        *(sys.executable, "-m", "tests.soak.stale", "--transport", transport),
        *("--fetches", "1000"),
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    # A line for each API and transport, each with unsolicited responses.
    lines = output.decode().splitlines()[2:]
    assert len(lines) == 8
    assert all(int(line.split("|")[5]) > 5 for line in lines)


async def test_memory_of_streamed_bodies(transport: str, start_program: StartProgram) -> None:
    process = await start_program(
        *(sys.executable, "-m", "tests.soak.streams", "--transport", transport),
        *("--size", "128"),
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    # A line for each direction, and two lines for the head of the table.
    assert len(output.decode().splitlines()) == 8
