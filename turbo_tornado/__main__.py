"""``python -m turbo_tornado URL``: a fetch from the shell."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing

from . import FetchKeywords, HTTPClient, HTTPResponse, SSLOptions
from ._command_line.arguments import argument_parser
from ._command_line.download import Download
from ._command_line.failures import CannotOpen, CannotWrite, ReaderClosed
from ._command_line.output import open_output, remove_temporary_files_on_signals
from ._command_line.request import fetch_keywords


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> HTTPResponse:
    with ExitStack() as files:
        keywords = fetch_keywords(args, files)
        output = files.enter_context(closing(open_output(args.output)))
        download = files.enter_context(closing(Download(output, args.include)))
        if args.output is not None:
            keywords["streaming_callback"] = download.on_chunk
        response = asyncio.run(_fetch(parser, args, keywords, download))
        if response.error is None:
            download.finish(response)
        return response


async def _fetch(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    keywords: FetchKeywords,
    download: Download,
) -> HTTPResponse:
    ssl_options: SSLOptions = {"verify_ca": not args.insecure, "ca_path": args.ca}
    try:
        client = HTTPClient(ssl_options, transport=args.transport, on_request=download.on_request)
        future = client.fetch(args.url, keywords)
    except (ImportError, TypeError, ValueError) as error:
        # Not `parser.error`, which also prints the usage.
        parser.exit(2, _message(parser, error))
    return await future


def _message(parser: argparse.ArgumentParser, error: Exception) -> str:
    return f"{parser.prog}: error: {error}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

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
    remove_temporary_files_on_signals()
    sys.exit(main())
