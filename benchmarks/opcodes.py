"""Count the bytecode instructions of a GET: ``python -m benchmarks.opcodes``.

The number does not depend on the load of the machine. It does not include the time in system
calls and in functions written in C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from .servers import ROOT, servers
from .workloads import WORKLOADS

_WARM_UP, _COUNTED = 300, 100


def count(url: str) -> Counter[str]:
    """Return the instructions of the fetches by function."""
    from turbo_tornado import HTTPClient

    counter: Counter[str] = Counter()

    def note(code: CodeType, offset: int = 0) -> None:
        counter[f"{Path(code.co_filename).name} {code.co_name}"] += 1

    async def fetch(times: int) -> None:
        for _ in range(times):
            response = await HTTPClient(transport="simple").fetch(url)
            assert response.code == 200, response

    async def run() -> None:
        await fetch(_WARM_UP)
        with _instructions(note):
            await fetch(_COUNTED)

    asyncio.run(run())
    return counter


@contextlib.contextmanager
def _instructions(note: Callable[[CodeType, int], None]) -> Iterator[None]:
    """Call ``note`` for each instruction."""
    if sys.version_info >= (3, 12):
        monitoring = sys.monitoring
        tool, event = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION
        monitoring.use_tool_id(tool, __name__)
        monitoring.register_callback(tool, event, note)
        monitoring.set_events(tool, event)
        try:
            yield
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
        return

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            note(frame.f_code, 0)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opcodes", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="DIR", help="also count in this checkout")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="list the first N")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.url is not None:
        counter = count(args.url)
        print(f"{counter.total() / _COUNTED:8.0f} in all")
        for name, instructions in counter.most_common(args.functions):
            print(f"{instructions / _COUNTED:8.0f} {name}")
        return
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as running:
        [url] = running.urls(WORKLOADS["get-1-kept"], 0)
        for checkout in filter(None, (ROOT, args.before)):
            print(checkout.resolve(), flush=True)
            # The benchmark comes from this checkout, and the package from the other one.
            program = (
                f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
                "from benchmarks.opcodes import main\n"
                f"sys.path.insert(0, {str(checkout.resolve())!r})\n"
                "main()"
            )
            options = ["--url", url, "--functions", str(args.functions)]
            subprocess.run([sys.executable, "-c", program, *options], check=True)


if __name__ == "__main__":
    main()
