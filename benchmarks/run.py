"""Run the clients on the workloads and report: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from math import ceil
from pathlib import Path
from typing import Any

from . import nginx, report
from .clients import CLIENTS
from .environment import missing, versions
from .servers import ROOT, Servers, cores, servers, start, stop
from .workloads import WORKLOADS, Job, Workload

UNLIMITED = 1_000_000_000
#: Seconds after which a run is stopped and counts as failed.
LIMIT = 60.0
#: Descriptors that a client needs in addition to its connections.
SPARE_DESCRIPTORS = 200


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)

    def some(known: dict[str, Any]) -> Any:
        def names(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(
                    f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}"
                )
            return [name for name in known if name in chosen]

        return names

    loops = {"asyncio": None, "uvloop": None}
    parser.add_argument("--clients", type=some(CLIENTS), default=list(CLIENTS), metavar="A,B")
    parser.add_argument("--workloads", type=some(WORKLOADS), metavar="A,B")
    parser.add_argument("--loops", type=some(loops), metavar="A,B", help="asyncio,uvloop")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--seconds", type=float, help="duration of one measured run; default: 1")
    parser.add_argument(
        "--requests", type=int, default=UNLIMITED, help="maximum for one run; default: no limit"
    )
    parser.add_argument(
        "--before", type=_before, metavar="DIR", help="a checkout of an older version to compare"
    )
    parser.add_argument("--turbo-lua", type=_folder, metavar="DIR", help="a built checkout")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write results.json, table.md and chart.svg"
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="DIR",
        help="write a profile of each run in Python; the figures are then those of the profiler",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round on asyncio without the largest bursts, to check that all works",
    )
    args = parser.parse_args(argv)
    quick = args.quick
    args.rounds = args.rounds or (1 if quick else 5)
    args.seconds = args.seconds or (0.3 if quick else 1.0)
    args.loops = args.loops or (["asyncio"] if quick else list(loops))
    args.workloads = args.workloads or [
        name for name in WORKLOADS if not quick or name not in ("burst-5000", "burst-15000")
    ]
    return args


def _folder(text: str) -> Path:
    # Absolute, because the clients run in another directory.
    folder = Path(text).resolve()
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder} is not a folder")
    return folder


def _before(text: str) -> Path:
    folder = _folder(text)
    if not (folder / "turbo_tornado" / "__init__.py").exists():
        raise argparse.ArgumentTypeError(f"there is no turbo_tornado in {folder}")
    return folder


def job_of(
    client: str, loop: str, workload: Workload, args: argparse.Namespace, urls: list[str], ca: str
) -> Job:
    """Return the job of one run."""
    if workload.burst:
        warm_up, window = (LIMIT, 10), (LIMIT, min(workload.in_flight, args.requests))
    else:
        warm_up, window = (args.seconds / 4, args.requests), (args.seconds, args.requests)
    return Job(
        client=client,
        loop=loop,
        urls=urls,
        method=workload.method,
        posted=workload.posted,
        length=workload.length,
        in_flight=workload.in_flight,
        kept=workload.kept,
        streamed=workload.streamed,
        ca=ca,
        before=str(args.before or ""),
        timeout=2 * LIMIT,
        warm_up=warm_up,
        window=window,
    )


def measure(
    job: Job, turbo_lua: Path | None, limit: float, profile: Path | None = None
) -> dict[str, Any]:
    """Run a job in a separate process and return its result.

    :arg profile: the file for the profile of the run. Default: no profile.
    """
    command = [sys.executable, "-m", "benchmarks.clients", job.dump()]
    environment = dict(os.environ)
    if profile is not None:
        environment["BENCHMARKS_PROFILE"] = str(profile)
    if CLIENTS[job.client].run is None:
        assert turbo_lua
        command = ["luajit", str(ROOT / "benchmarks" / "turbo.lua"), job.dump()]
        environment["LUA_PATH"] = f"{turbo_lua}/?.lua;{turbo_lua}/?/init.lua;;"
        environment["TURBO_LIBTFFI"] = str(turbo_lua / "libtffi_wrap.so")
    with start(
        command,
        cores()[0],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            out, err = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return _failure(f"not finished after {limit:.0f} s")
        finally:
            stop(child)
    try:
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        return _failure((err.strip().splitlines() or ["no result"])[-1])
    return result


def _failure(error: str) -> dict[str, Any]:
    return {"done": 0, "failed": 1, "error": error}


class Benchmark:
    """The rounds of all runs, and their results."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.runs: list[dict[str, Any]] = []
        #: (client, loop, workload) without a valid run, which later rounds omit.
        self.given_up: set[tuple[str, str, str]] = set()
        #: The reasons why a client or one of its workloads is not measured, for the report.
        self.left_out: dict[str, str] = {}
        self.lanes: list[tuple[str, str]] = []
        loops = [loop for loop in args.loops if importlib.util.find_spec(loop)]
        if len(loops) < len(args.loops):
            self._leave_out("uvloop", "not installed")
        for client in args.clients:
            if reason := missing(CLIENTS[client], args):
                self._leave_out(client, reason)
            elif CLIENTS[client].loops:
                self.lanes += [(client, loop) for loop in loops]
            else:
                self.lanes.append((client, ""))

    def _leave_out(self, what: str, reason: str) -> None:
        if what not in self.left_out:
            self.left_out[what] = reason
            say(f"{what}: left out: {reason}")

    def workloads(self) -> list[Workload]:
        chosen = [WORKLOADS[name] for name in self.args.workloads]
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
        for workload in chosen:
            if workload.in_flight > most:
                self._leave_out(workload.name, "the limit of open files is too low (ulimit -n)")
        return [workload for workload in chosen if workload.in_flight <= most]

    def run(self, running: Servers) -> None:
        workloads = self.workloads()
        round_seconds = len(self.lanes) * sum(
            2.5 + workload.in_flight / 1500 if workload.burst else 0.7 + 1.25 * self.args.seconds
            for workload in workloads
        )
        say(f"about {ceil(self.args.rounds * round_seconds / 60)} minutes")
        for number in range(self.args.rounds):
            for workload in workloads:
                # The order changes, so that no client always runs first.
                first = number * 3 % max(1, len(self.lanes))
                for client, loop in self.lanes[first:] + self.lanes[:first]:
                    entry = CLIENTS[client]
                    if feature := entry.lacks(workload, loop):
                        reason = entry.unsupported.get(feature, "not part of the benchmark")
                        self._leave_out(f"{client}, {feature}", reason)
                    elif (client, loop, workload.name) not in self.given_up:
                        self.runs.append(self.one(running, number, workload, client, loop))

    def one(
        self, running: Servers, number: int, workload: Workload, client: str, loop: str
    ) -> dict[str, Any]:
        urls = running.urls(workload, len(self.runs))
        job = job_of(client, loop, workload, self.args, urls, running.ca)
        connections, requests = running.counted()
        profile = None
        if self.args.profile is not None:
            self.args.profile.mkdir(parents=True, exist_ok=True)
            profile = self.args.profile.resolve() / f"{client}-{workload.name}-{loop}.txt"
        result = measure(job, self.args.turbo_lua, LIMIT + 2 * self.args.seconds, profile)
        after = running.counted()
        result.update(round=number, workload=workload.name, client=client, loop=loop)
        if not workload.burst:
            # The request for the numbers is itself a connection and a request.
            result["connections"] = after[0] - connections - 1
            result["requests"] = after[1] - requests - 1
            if not workload.kept and result["connections"] < result["requests"]:
                result["failed"] += result["requests"] - result["connections"]
                result["error"] = result["error"] or "connections were reused"
        if not result["done"]:
            self.given_up.add((client, loop, workload.name))
        say(
            f"round {number + 1}/{self.args.rounds} {workload.name:13} {client:13} {loop:8}"
            + report.brief(result)
        )
        return result


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    if nginx.find() is None:
        say("the benchmark needs nginx")
        return 1
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    # Handled like Ctrl-C, which stops the servers and the client.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    benchmark = Benchmark(args)
    started = time.strftime("%Y-%m-%d")
    interrupted = False
    try:
        with (
            tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
            servers(Path(folder)) as running,
        ):
            benchmark.run(running)
    except KeyboardInterrupt:
        say("interrupted; the report has the runs until now")
        interrupted = True
    results = {
        "date": started,
        "versions": versions(args),
        "left_out": benchmark.left_out,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "runs": benchmark.runs,
    }
    if args.output and not interrupted:
        report.write(results, args.output)
    else:
        print(report.markdown(results))
    return 130 if interrupted else 0
