"""``python -m tests.faults``: runs the table, prints the results, writes the page."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import warnings
from pathlib import Path

from tests.support.certificates import Certificates

from . import namespace, page
from .row import Row
from .runner import Outcome, reason_against, run
from .table import TABLE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--write", metavar="PAGE", type=Path, help="write the table into this page")
    parser.add_argument("--transport", choices=("simple", "curl"), help="default: both")
    parser.add_argument("-k", metavar="WORDS", default="", help="run only rows with these words")
    parser.add_argument("--dns", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    transports = [arguments.transport] if arguments.transport else ["simple", "curl"]
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        if arguments.dns:
            namespace.bring_up_loopback()
            rows = [row for row in TABLE if row.dns and not reason_against(row)]
            found = {row.name: _run(row, transports[0], certificates) for row in rows}
            print(json.dumps({name: outcome.as_json() for name, outcome in found.items()}))
            return 0
        results = _results(transports, arguments.k, certificates)
    outcomes = [outcome for outcome in results.values() if isinstance(outcome, Outcome)]
    failed = sum(bool(outcome.violations) for outcome in outcomes)
    print(f"{len(results)} rows, {failed} of them failed")
    if arguments.write and not failed:
        page.write(arguments.write, results)
    return 1 if failed else 0


def _results(transports: list[str], words: str, certificates: Certificates) -> page.Results:
    results: page.Results = {}
    rows = [row for row in TABLE if words in f"{row.group}: {row.name}"]
    ask = any(row.dns for row in rows) and not namespace.reason_against()
    for transport in transports:
        dns = namespace.outcomes(transport) if ask else {}
        for row in rows:
            if transport not in row.transports:
                continue
            outcome: Outcome | str = reason_against(row)
            if not outcome:
                known = dns.get(row.name) if row.dns else None
                outcome = Outcome(**known) if known else _run(row, transport, certificates)
            results[row, transport] = outcome
            print(f"{transport}: {row.group}: {row.name}: {page.cell(row, transport, outcome)}")
            for violation in outcome.violations if isinstance(outcome, Outcome) else ():
                print(f"    {violation}", flush=True)
    return results


def _run(row: Row, transport: str, certificates: Certificates) -> Outcome:
    return asyncio.run(run(row, transport, certificates))


if __name__ == "__main__":
    sys.exit(main())
