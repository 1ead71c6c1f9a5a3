"""Runs the Python blocks of one page in one process, as its reader would type them.

    python -m tests.support.page < blocks.json > output.json

Input: the file's name, and ``[line, code, language]`` for each block. Output: the output and the
log of each block. An exception ends the process, with the line of the page in the traceback.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import json
import sys
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from turbo_tornado import HTTPClient


async def run(file: str, line: int, code: str, names: dict[str, Any]) -> None:
    # With the empty lines, a traceback has the line numbers of the page.
    program = compile(
        "\n" * line + code, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    result = eval(program, names)
    if inspect.isawaitable(result):
        await result


def run_session(file: str, line: int, session: str, names: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(session, names, file, file, line)
    test.globs = names
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    if runner.run(test, out=report.append, clear_globs=False).failed:
        raise AssertionError("".join(report))


async def serve_once(handler: type[RequestHandler]) -> None:
    """Serve a handler that a block defines, and send one request to it."""
    method = next(name for name in ("get", "post") if name in vars(handler))
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/.*", handler)]))
    server.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
    res = await HTTPClient().fetch(url, method=method, body="" if method == "post" else None)
    assert res.error is None and res.code < 500, f"{handler.__name__} answered {res}"
    server.stop()
    await server.close_all_connections()


async def main() -> None:
    page = json.load(sys.stdin)
    names: dict[str, Any] = {"__name__": "page", **page["given"]}
    printed, outputs = io.StringIO(), []
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for line, code, language in page["blocks"]:
            before, start = dict(names), printed.tell()
            if language == "pycon":
                run_session(page["file"], line, code, names)
            else:
                await run(page["file"], line, code, names)
            outputs.append(printed.getvalue()[start:])
            for name, value in list(names.items()):
                defined = isinstance(value, type) and value.__module__ == "page"
                if defined and before.get(name) is not value and issubclass(value, RequestHandler):
                    await serve_once(value)
    json.dump(outputs, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
