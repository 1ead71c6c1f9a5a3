"""`fetch_keywords`: from the command line to the keywords of ``fetch``."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from typing import BinaryIO

from .. import FetchKeywords
from .arguments import FormFile
from .failures import CannotOpen


def fetch_keywords(args: argparse.Namespace, files: ExitStack) -> FetchKeywords:
    """Return the keywords of ``fetch`` for the command line.

    :arg files: closes the files that the keywords contain.
    :raises CannotOpen: for a file that cannot be opened.
    """
    headers: list[tuple[str, str]] = args.header
    if args.json is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers = [*headers, ("Content-Type", "application/json")]
    text = args.body if args.json is None else args.json
    form: list[tuple[str, str] | FormFile] | None = args.form
    fields = [item for item in form or () if not isinstance(item, FormFile)]
    has_body = text is not None or form is not None
    user, _, password = (args.auth or "").partition(":")
    return {
        "method": args.method or ("POST" if has_body else "GET"),
        "params": [*args.param, *fields] or None,
        "headers": headers or None,
        "cookie": "; ".join(f"{name}={value}" for name, value in args.cookie) or None,
        "auth_username": user if args.auth else None,
        "auth_password": password if args.auth else None,
        "body": None if text is None else _body(text, files),
        "files": None if form is None else _uploads(form, files),
        "allow_redirects": not args.no_redirects,
        "request_timeout": 0 if args.timeout is None and args.output else args.timeout,
        "proxy": args.proxy,
    }


def _body(text: str, files: ExitStack) -> bytes | BinaryIO:
    if text == "@-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return os.fsencode(text)
    return _open(text[1:], files)


def _uploads(
    form: list[tuple[str, str] | FormFile], files: ExitStack
) -> list[tuple[str, tuple[str, bytes | BinaryIO, str | None]]]:
    return [
        (item.name, (os.path.basename(item.path), _open(item.path, files), item.content_type))
        for item in form
        if isinstance(item, FormFile)
    ]


def _open(path: str, files: ExitStack) -> bytes | BinaryIO:
    """Return an open file, or the content of a pipe."""
    try:
        file = files.enter_context(open(path, "rb"))  # noqa: SIM115
        # The client needs the length. The size of a pipe, and of a file in /proc, is 0.
        return file if os.fstat(file.fileno()).st_size else file.read()
    except OSError as error:
        raise CannotOpen(path, error) from None
