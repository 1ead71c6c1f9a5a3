from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from tests.support import StartProgram

REQUESTS = 20

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the benchmark pins processes to cores"
)


async def test_every_installed_client_answers_right(
    tmp_path: Path, start_program: StartProgram
) -> None:
    from benchmarks import nginx
    from benchmarks.clients import CLIENTS
    from benchmarks.run import missing

    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    installed = {name for name in CLIENTS if missing(name, None) is None}

    process = await start_program(
        sys.executable,
        *("-m", "benchmarks", "--workloads", "get-50-kept", "--loops", "asyncio"),
        *("--rounds", "1", "--seconds", "20", "--requests", str(REQUESTS)),
        *("--output", str(tmp_path)),
    )
    _, progress = await process.communicate()
    assert process.returncode == 0, progress.decode()

    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert {run["client"] for run in runs} == installed
    for run in runs:
        assert (run["done"], run["failed"]) == (REQUESTS, 0), run
    assert "What it must show" in (tmp_path / "table.md").read_text()
    xml.etree.ElementTree.parse(tmp_path / "chart.svg")


def test_cpu_includes_child_processes() -> None:
    from benchmarks.usage import cpu_seconds

    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    start = cpu_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert cpu_seconds() - start > 0.25
        child.communicate(b"\n", timeout=10)
    assert cpu_seconds() - start > 0.25
