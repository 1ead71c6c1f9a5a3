"""`argument_parser`: the options of the command line."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from .._version import __version__

_EPILOG = """\
exit codes:
  0    the fetch has a response, with any status code
  1    the fetch has an error; stderr has its name (see turbo_tornado.errors) and message
  2    invalid command line, or a file that cannot be opened
  3    the response cannot be written
  130  interrupted by Ctrl-C

example:
  python -m turbo_tornado -i --json '{"name": "turbo"}' http://localhost:8888/items
"""


class FormFile(NamedTuple):
    """A file of ``--form``."""

    name: str
    path: str
    #: ``None``: by the name of the file.
    content_type: str | None


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


def _form(text: str) -> tuple[str, str] | FormFile:
    name, value = _pair(text)
    if not value.startswith("@"):
        return name, value
    path, _, content_type = value[1:].partition(";type=")
    return FormFile(name, path, content_type or None)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m turbo_tornado",
        usage="%(prog)s [options] URL",
        description="Fetch a URL and write the response body to standard output.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="http or https")
    parser.add_argument("--version", action="version", version=f"turbo_tornado {__version__}")
    _add_response_options(parser)
    _add_request_options(parser)
    _add_body_options(parser)
    _add_connection_options(parser)
    return parser


def _add_response_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("response").add_argument
    add(
        "-i",
        "--include",
        action="store_true",
        help="write the status line and the headers to standard output, before the body",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="write the body to FILE while it arrives, with its progress on a terminal; "
        "a fetch with an error leaves FILE unchanged; '-' is standard output",
    )
    add("--no-redirects", action="store_true", help="do not follow redirects")


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("request").add_argument
    add("--method", help="default: GET, and POST with a body")
    add(
        "--param",
        metavar="NAME=VALUE",
        type=_pair,
        action="append",
        default=[],
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
    add(
        "--cookie",
        metavar="NAME=VALUE",
        type=_pair,
        action="append",
        default=[],
        help="send a cookie; repeatable",
    )
    add("--auth", metavar="USER:PASSWORD", help="HTTP Basic")


def _add_body_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("request body, one of")
    add = group.add_mutually_exclusive_group().add_argument
    add("--body", metavar="TEXT", help="text; @FILE sends a file, @- standard input")
    add("--json", metavar="TEXT", help="like --body, with Content-Type: application/json")
    add(
        "--form",
        metavar="NAME=VALUE",
        type=_form,
        action="append",
        help="a field of multipart/form-data; NAME=@FILE uploads a file, NAME=@FILE;type=TYPE "
        "with this content type; repeatable",
    )


def _add_connection_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("connection").add_argument
    add(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="limit for the whole fetch; 0: no limit (default: 60, and 0 with -o)",
    )
    add(
        "--proxy",
        metavar="URL",
        help="http://[USER:PASSWORD@]HOST:PORT, or 'environment' for the proxy variables of the "
        "environment",
    )
    add("--insecure", action="store_true", help="accept any certificate")
    add("--ca", metavar="PATH", help="trusted certificates: a PEM file or a directory")
    add("--transport", choices=("auto", "simple", "curl"), default="auto", help="default: auto")
