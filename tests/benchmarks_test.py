from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

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


async def test_instructions_of_a_fetch(before: Path, start_program: StartProgram) -> None:
    from benchmarks import nginx

    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    options = ["--before", str(before), "--functions", "3"]
    process = await start_program(sys.executable, "-m", "benchmarks.opcodes", *options)
    output, progress = await process.communicate()
    assert process.returncode == 0, progress.decode()
    counted = [line.split() for line in output.decode().splitlines()]
    # The same version twice, each with a separate path.
    assert [len(line) for line in counted] == [1, 3, 3, 3, 3] * 2
    assert abs(int(counted[1][0]) - int(counted[6][0])) < 100


def test_before_without_the_package_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.run import arguments

    with pytest.raises(SystemExit):
        arguments(["--before", str(tmp_path)])
    assert "there is no turbo_tornado in" in capsys.readouterr().err


async def test_before_with_another_package_is_an_error(
    before: Path, start_program: StartProgram
) -> None:
    # Python has already imported the package of this version.
    program = (
        "import types, turbo_tornado\n"
        "from benchmarks.clients import CLIENTS\n"
        f"job = types.SimpleNamespace(before={str(before)!r}, loop='asyncio', method='GET',\n"
        "    kept=True, streamed=False, timeout=1.0, body=None)\n"
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


def run_of(client: str, workload: str, **values: Any) -> dict[str, Any]:
    """Return one run with 1 000 right responses in one second."""
    run = {"round": 0, "loop": "asyncio", "done": 1000, "failed": 0, "error": None}
    costs = {"wall": 1.0, "cpu": 0.1, "peak": 50_000_000}
    return {**run, **costs, "client": client, "workload": workload, **values}


def tables(*runs: dict[str, Any]) -> str:
    from benchmarks.report import markdown

    about = {"date": "", "versions": {}, "rounds": 1, "seconds": 1.0, "left_out": {}}
    return markdown({**about, "runs": list(runs)})


def test_requirements_compare_in_one_round() -> None:
    text = tables(
        run_of("turbo-simple", "get-50-kept", cpu=0.04),
        run_of("aiohttp", "get-50-kept", cpu=0.1),
        run_of("wreq", "get-50-kept", cpu=0.02),
        run_of("before-simple", "get-50-kept", wall=2.0),
    )
    title = "| GET 12 bytes, 50 in flight |"
    assert f"{title} CPU at most 1.1 x wreq | 2.00 ✗ |" in text
    assert f"{title} CPU at most 0.42 x aiohttp | 0.40 ✓ |" in text
    before = "Turbo client on simple, before"
    assert f"{title} requests/s at least 1.8 x {before} | 2.00 ✓ |" in text
    assert f"{title} requests/s at least 0.9 x Turbo.lua | - |" in text
    assert "| aiohttp | 0.40 |" in text


def test_requirements_are_not_met_with_failures() -> None:
    ours = run_of("turbo-simple", "burst-15000", failed=1, peak=10)
    text = tables(ours, run_of("aiohttp", "burst-15000"))
    title = "| 15 000 in flight, 1 s each |"
    assert f"{title} no failure | 1 ✗ |" in text
    assert f"{title} peak at most 1.0 x aiohttp | 0.00 ✗ |" in text


def test_curl_is_compared_with_the_version_before() -> None:
    text = tables(
        run_of("turbo-curl", "tls-1-kept", wall=1.05, cpu=0.2),
        run_of("before-curl", "tls-1-kept"),
    )
    assert "| TLS, one at a time | asyncio | 0.95 ✓ | 2.00 ✗ | 1.00 ✓ |" in text


def test_overhead_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import requirements
    from benchmarks.clients import CLIENTS
    from benchmarks.clients.entry import Entry

    entry = Entry(requirements.TRANSPORT, "send", (), None)
    monkeypatch.setitem(CLIENTS, requirements.TRANSPORT, entry)
    text = tables(
        run_of("turbo-simple", "get-50-kept", cpu=0.04),
        run_of(requirements.TRANSPORT, "get-50-kept", cpu=0.033),
    )
    assert "CPU over its transport at most 8 µs | 7.00 ✓ |" in text
