"""Measure one client on one job: ``python -m benchmarks.clients JOB``."""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import sys
from collections.abc import Callable
from typing import Any

from ..workloads import Job
from . import CLIENTS


def main() -> None:
    job = Job.load(sys.argv[1])
    run = CLIENTS[job.client].run
    assert run is not None
    # OpenSSL reads it when a client creates its default context, curl_cffi on import.
    os.environ["SSL_CERT_FILE"] = job.ca
    # niquests and curl_cffi prefer these.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    profile = os.environ.get("BENCHMARKS_PROFILE")
    print(json.dumps(run(job) if profile is None else _profiled(run, job, profile)))


def _profiled(run: Callable[[Job], dict[str, Any]], job: Job, path: str) -> dict[str, Any]:
    """Run a job under cProfile and write the functions by their own time."""
    profiler = cProfile.Profile()
    result = profiler.runcall(run, job)
    with open(path, "w", encoding="utf-8") as file:
        stats = pstats.Stats(profiler, stream=file)
        stats.strip_dirs().sort_stats("tottime").print_stats(40)
    return result


if __name__ == "__main__":
    main()
