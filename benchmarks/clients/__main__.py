"""Measure one client on one job: ``python -m benchmarks.clients JOB``."""

from __future__ import annotations

import json
import os
import sys

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
    print(json.dumps(run(job)))


if __name__ == "__main__":
    main()
