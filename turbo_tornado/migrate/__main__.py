"""``python -m turbo_tornado.migrate check FILE``: what a Turbo program uses."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

from .findings import check_file, files_of
from .lua import LuaSyntaxError

_EPILOG = """\
Each line is FILE:LINE: NAME -> REPLACEMENT (PAGE#SECTION), where PAGE is below docs/
in the repository.

exit codes:
  0  no finding
  1  at least one finding
  2  invalid command line, or a file that cannot be read or parsed
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m turbo_tornado.migrate",
        description="Check a Turbo.lua program before you move it to turbo_tornado.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "check",
        help="list what a program of Turbo.lua uses, and what replaces it",
        description="List the names of Turbo.lua, and code that fails after a literal port.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="a Lua file or a directory")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    :arg argv: the arguments. Default: ``sys.argv[1:]``.
    :returns: the exit code, see ``check --help``.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if importlib.util.find_spec("luaparser") is None:
        parser.exit(2, 'the package luaparser is missing: pip install "turbo_tornado[migrate]"\n')
    code = 0
    for file in files_of(args.paths):
        try:
            findings = check_file(file)
        except OSError as error:
            print(f"{file}: {error.strerror}", file=sys.stderr)
            code = 2
        except LuaSyntaxError as error:
            print(f"{file}:{error.line}: syntax error: {error}", file=sys.stderr)
            code = 2
        else:
            for finding in findings:
                print(finding.written(str(file)))
            code = max(code, 1 if findings else 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
