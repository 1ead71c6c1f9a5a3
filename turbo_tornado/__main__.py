"""``python -m turbo_tornado URL``: a fetch from the shell."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from . import FetchKeywords, HTTPClient, HTTPHeaders, HTTPResponse, SSLOptions
from ._version import __version__

_EPILOG = """\
exit codes:
  0    the fetch has a response, with any status code
  1    the fetch has an error; stderr has its name (see turbo_tornado.errors) and message
  2    invalid command line
  130  interrupted by Ctrl-C

example:
  python -m turbo_tornado -i --json '{"name": "turbo"}' http://localhost:8888/items
"""


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        # The argument is not quoted: it can be secret, and stderr can go to a log.
        raise argparse.ArgumentTypeError("expected NAME=VALUE")
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError("expected NAME: VALUE")
    return name.strip(), value.strip()


def _body(text: str) -> bytes:
    if text == "@-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return os.fsencode(text)
    try:
        with open(text[1:], "rb") as file:
            return file.read()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text[1:]}: {error.strerror}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m turbo_tornado",
        description="Fetch a URL and write the response body to standard output.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("url", metavar="URL")
    add("-i", "--include", action="store_true", help="also write the status line and the headers")
    add("--method", help="default: GET, and POST with a body")
    add(
        "--param",
        metavar="NAME=VALUE",
        type=_pair,
        action="append",
        help="add to the query, or to the form body of POST, PUT, PATCH and DELETE; repeatable",
    )
    add(
        "--header",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="set a request header, replacing the client's own; repeatable",
    )
    add("--cookie", metavar="NAME=VALUE", type=_pair, action="append", help="repeatable")
    body = parser.add_mutually_exclusive_group()
    body.add_argument(
        "--body",
        metavar="TEXT",
        type=_body,
        help="request body; @FILE reads a file, @- standard input",
    )
    body.add_argument(
        "--json",
        metavar="TEXT",
        type=_body,
        help="like --body, with Content-Type: application/json",
    )
    add("--auth", metavar="USER:PASSWORD", help="HTTP Basic")
    add("--no-redirects", action="store_true", help="do not follow redirects")
    add(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="limit for the whole fetch (default: 60; 0: no limit)",
    )
    add("--insecure", action="store_true", help="accept any certificate")
    add("--ca", metavar="PATH", help="trusted certificates: a PEM file or a directory")
    add("--transport", choices=("auto", "simple", "curl"), default="auto")
    add("--version", action="version", version=f"turbo_tornado {__version__}")
    return parser


def _options(args: argparse.Namespace) -> FetchKeywords:
    """Returns the keywords of ``fetch`` for the command line."""
    body = args.body if args.json is None else args.json
    user, _, password = (args.auth or "").partition(":")

    def on_headers(headers: HTTPHeaders) -> None:
        if args.json is not None:
            headers.set("Content-Type", "application/json")
        for name, _ in args.header:
            headers.remove(name)
        for name, value in args.header:
            headers.add(name, value)

    return {
        "method": args.method or ("GET" if body is None else "POST"),
        "params": args.param,
        "cookie": dict(args.cookie) if args.cookie else None,
        "body": body,
        "auth_username": user if args.auth else None,
        "auth_password": password if args.auth else None,
        "allow_redirects": not args.no_redirects,
        "request_timeout": args.timeout,
        "on_headers": on_headers,
    }


async def _fetch(parser: argparse.ArgumentParser, args: argparse.Namespace) -> HTTPResponse:
    ssl_options: SSLOptions = {"verify_ca": not args.insecure, "ca_path": args.ca}
    try:
        client = HTTPClient(ssl_options, transport=args.transport)
        future = client.fetch(args.url, _options(args))
    except (ImportError, TypeError, ValueError) as error:
        # Not `parser.error`, which also prints the usage.
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    return await future


def _write(response: HTTPResponse, include: bool) -> None:
    output = sys.stdout.buffer
    try:
        if include:
            lines = "".join(f"{name}: {value}\n" for name, value in response.headers.get_all())
            head = f"{response.headers.get_version()} {response.code} {response.reason}\n{lines}\n"
            output.write(head.encode("latin-1"))
        output.write(response.body)
        output.flush()
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, the interpreter prints an error when it
        # flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    :arg argv: the arguments. Default: ``sys.argv[1:]``.
    :returns: the exit code, see ``--help``.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    response = asyncio.run(_fetch(parser, args))
    if response.error:
        print(f"{response.error.code.name}: {response.error.message}", file=sys.stderr)
        return 1
    _write(response, args.include)
    return 0


if __name__ == "__main__":
    # Without this, Ctrl-C raises KeyboardInterrupt, which is lost in a callback of libcurl.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
