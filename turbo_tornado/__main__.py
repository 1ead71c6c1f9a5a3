"""``python -m turbo_tornado URL``: a fetch from the shell."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from . import FetchKeywords, HTTPClient, HTTPResponse, SSLOptions
from ._command_line.arguments import argument_parser
from ._command_line.failures import CannotOpen, CannotWrite, ReaderClosed
from ._command_line.output import StandardOutput
from ._command_line.request import fetch_keywords


async def _fetch(
    parser: argparse.ArgumentParser, args: argparse.Namespace, keywords: FetchKeywords
) -> HTTPResponse:
    ssl_options: SSLOptions = {"verify_ca": not args.insecure, "ca_path": args.ca}
    try:
        client = HTTPClient(ssl_options, transport=args.transport)
        future = client.fetch(args.url, keywords)
    except (ImportError, TypeError, ValueError) as error:
        # Not `parser.error`, which also prints the usage.
        parser.exit(2, _message(parser, error))
    return await future


def _head(response: HTTPResponse) -> bytes:
    lines = "".join(f"{name}: {value}\n" for name, value in response.headers.get_all())
    status = f"{response.headers.get_version()} {response.code} {response.reason}"
    return f"{status}\n{lines}\n".encode("latin-1")


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> HTTPResponse:
    with ExitStack() as stack:
        keywords = fetch_keywords(args, stack)
        response = asyncio.run(_fetch(parser, args, keywords))
        if response.error is None:
            stdout = StandardOutput()
            if args.include:
                stdout.write(_head(response))
            stdout.write(response.body)
        return response


def _message(parser: argparse.ArgumentParser, error: Exception) -> str:
    return f"{parser.prog}: error: {error}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    :arg argv: the arguments. Default: ``sys.argv[1:]``.
    :returns: the exit code, see ``--help``.
    """
    parser = argument_parser()
    args = parser.parse_args(argv)
    try:
        response = _run(parser, args)
    except CannotOpen as error:
        parser.exit(2, _message(parser, error))
    except CannotWrite as error:
        parser.exit(3, _message(parser, error))
    except ReaderClosed:
        return 0
    if response.error:
        print(f"{response.error.code.name}: {response.error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Without this, Ctrl-C raises KeyboardInterrupt, which is lost in a callback of libcurl.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
