from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from tests.support import StartProgram

REQUESTS = 20
ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the benchmark pins processes to cores"
)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A checkout of an "older" version, which is this one under another path."""
    folder = tmp_path / "before"
    folder.mkdir()
    (folder / "turbo_tornado").symlink_to(ROOT / "turbo_tornado")
    return folder


async def test_every_installed_client_gets_right_responses(
    tmp_path: Path, before: Path, start_program: StartProgram
) -> None:
    from benchmarks import nginx
    from benchmarks.clients import CLIENTS
    from benchmarks.environment import missing
    from benchmarks.run import arguments

    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    options = [
        *("--workloads", "get-50-kept", "--loops", "asyncio", "--before", str(before)),
        *("--rounds", "1", "--seconds", "20", "--requests", str(REQUESTS)),
        *("--output", str(tmp_path)),
    ]
    args = arguments(options)
    installed = {name for name, entry in CLIENTS.items() if missing(entry, args) is None}

    process = await start_program(sys.executable, "-m", "benchmarks", *options)
    _, progress = await process.communicate()
    assert process.returncode == 0, progress.decode()

    results = json.loads((tmp_path / "results.json").read_text())
    assert {run["client"] for run in results["runs"]} == installed
    assert set(results["left_out"]) == set(CLIENTS) - installed
    for run in results["runs"]:
        assert (run["done"], run["failed"]) == (REQUESTS, 0), run
    assert "What it must show" in (tmp_path / "table.md").read_text()
    xml.etree.ElementTree.parse(tmp_path / "chart.svg")


def test_before_must_have_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.run import arguments

    with pytest.raises(SystemExit):
        arguments(["--before", str(tmp_path)])
    assert "there is no turbo_tornado in" in capsys.readouterr().err


async def test_before_refuses_another_package(before: Path, start_program: StartProgram) -> None:
    # The package of this version is imported already, so the folder is too late.
    program = (
        "import types, turbo_tornado\n"
        "from benchmarks.clients import CLIENTS\n"
        f"job = types.SimpleNamespace(before={str(before)!r}, loop='asyncio', method='GET',\n"
        "    kept=True, timeout=1.0, body=None)\n"
        "CLIENTS['before-simple'].run(job)"
    )
    process = await start_program(sys.executable, "-c", program)
    _, errors = await process.communicate()
    assert b"turbo_tornado was not imported from" in errors


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


def test_unsupported_features_of_a_client() -> None:
    from benchmarks.clients.entry import Entry
    from benchmarks.workloads import WORKLOADS

    entry = Entry("x", "X", (), None, unsupported={"tls": "no CA", "uvloop": "own loop"})
    assert entry.lacks(WORKLOADS["get-50-kept"], "asyncio") is None
    assert entry.lacks(WORKLOADS["get-50-fresh"], "uvloop") == "uvloop"
    assert entry.lacks(WORKLOADS["tls-50-kept"], "asyncio") == "tls"
