"""The keywords of ``fetch``: one table with defaults, checks and meanings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple, TypedDict

from .._version import __version__
from ..headers import HTTPHeaders
from . import checks
from .multipart import FilePart, check_files
from .other_clients import ADVICE
from .proxy import Proxy, check_proxy


class Keyword(NamedTuple):
    """A keyword of ``fetch``."""

    default: Any
    #: Called with the name and the value; returns the value to use, or raises.
    check: Callable[[str, Any], Any]
    #: The cells "type" and "meaning" of the table in the documentation.
    type: str
    meaning: str
    #: Whether few fetches use it. `build_request` looks at these keywords only if one is set.
    is_rare: bool = False


KEYWORDS: dict[str, Keyword] = {
    "method": Keyword(
        "GET",
        checks.check_method,
        "str",
        "Any token but `CONNECT`. Converted to upper case.",
    ),
    "params": Keyword(
        None,
        checks.check_params,
        "mapping or pairs",
        "Values are text, bytes, numbers or bools. A list repeats its key. The form body of a "
        "POST, PUT, PATCH or DELETE without `body` and `json`, the fields of `files`, or else the "
        "query.",
        is_rare=True,
    ),
    "keep_alive": Keyword(
        True,
        checks.check_flag,
        "bool",
        "Reuse an idle connection and return it to the pool afterwards.",
    ),
    "cookie": Keyword(
        None,
        checks.check_cookie,
        "mapping or str",
        "The Cookie header. A str is sent unchanged.",
    ),
    "http_version": Keyword(
        "HTTP/1.1",
        checks.check_version,
        "str",
        '`"HTTP/1.0"`, `"HTTP/1.1"`, or `"HTTP/2"`, which needs the curl transport.',
    ),
    "use_gzip": Keyword(
        True,
        checks.check_flag,
        "bool",
        "Accept gzip and decode it. False: the body as received.",
    ),
    "allow_redirects": Keyword(
        True,
        checks.check_flag,
        "bool",
        "Follow 301, 302, 303, 307 and 308.",
    ),
    "max_redirects": Keyword(
        4,
        checks.check_count,
        "int",
        "The number of redirects to follow. One more is `REDIRECT_MAX`.",
    ),
    "on_headers": Keyword(
        None,
        checks.check_function,
        "function",
        "Called once with the complete `HTTPHeaders` of the request. Its changes are sent.",
        is_rare=True,
    ),
    "body": Keyword(
        None,
        checks.accept,
        "bytes-like, str, file or iterable",
        "The request body. A str is sent as UTF-8. A binary file is read while it is sent. An "
        "iterable or async iterable of bytes is sent as chunks.",
    ),
    "request_timeout": Keyword(
        60.0,
        checks.check_seconds,
        "seconds",
        "For the whole fetch, including redirects. 0: no limit.",
    ),
    "connect_timeout": Keyword(
        20.0,
        checks.check_seconds,
        "seconds",
        "For DNS, TCP and TLS of one connection. 0: no limit.",
    ),
    "auth_username": Keyword(
        None,
        checks.check_username,
        "str",
        "HTTP Basic user name, sent with the first request.",
    ),
    "auth_password": Keyword(
        None,
        checks.check_credential,
        "str",
        "HTTP Basic password.",
    ),
    "user_agent": Keyword(
        f"Turbo Client v{__version__}",
        checks.check_header_text,
        "str",
        'The User-Agent header. `""`: no header.',
    ),
    "headers": Keyword(
        None,
        checks.check_headers,
        "mapping or pairs",
        "Request headers, which replace the default headers. Pairs can repeat a name. The client "
        "always sets Content-Length.",
        is_rare=True,
    ),
    "json": Keyword(
        None,
        checks.check_json,
        "any JSON value",
        "The request body as JSON, with `Content-Type: application/json`. Not together with "
        "`body` or `files`. For `null`, use `body`.",
        is_rare=True,
    ),
    "files": Keyword(
        None,
        check_files,
        "mapping or pairs",
        "Files to upload as `multipart/form-data`, with `params` as its fields. A file is bytes, a "
        "binary file, a `pathlib.Path`, or a tuple `(filename, file)` or `(filename, file, type)`.",
        is_rare=True,
    ),
    "streaming_callback": Keyword(
        None,
        checks.check_callback,
        "function",
        "Called with each decoded chunk (bytes) of the body. `response.body` is then empty. The "
        "client waits for an async function before it receives more.",
        is_rare=True,
    ),
    "proxy": Keyword(
        None,
        check_proxy,
        "str",
        '`"http://[user:password@]host:port"`, or `"environment"` for the proxy variables of the '
        "environment, which do not apply otherwise.",
        is_rare=True,
    ),
}


FileContent = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO
FileEntry = FileContent | tuple[str, FileContent] | tuple[str, FileContent, str | None]


class FetchKeywords(TypedDict, total=False):
    """The keywords of `HTTPClient.fetch`, for type checkers and editors.

    Use it to annotate a table of keywords that several fetches share::

        defaults: FetchKeywords = {"request_timeout": 15, "max_redirects": 2}
        response = await client.fetch(url, defaults)

    ``None`` has the same effect as omitting the keyword.

    Equivalent to the ``kwargs`` table of ``turbo.async.HTTPClient:fetch``.
    """

    method: str | None
    params: Mapping[str, Any] | Iterable[tuple[str, Any]] | None
    keep_alive: bool | None
    cookie: Mapping[str, str | int | float | bool] | str | None
    http_version: Literal["HTTP/1.0", "HTTP/1.1", "HTTP/2"] | None
    use_gzip: bool | None
    allow_redirects: bool | None
    max_redirects: int | None
    on_headers: Callable[[HTTPHeaders], object] | None
    body: (
        bytes
        | bytearray
        | memoryview
        | str
        | BinaryIO
        | Iterable[bytes]
        | AsyncIterable[bytes]
        | None
    )
    request_timeout: float | None
    connect_timeout: float | None
    auth_username: str | None
    auth_password: str | None
    user_agent: str | None
    headers: Mapping[str, str | int | float] | Sequence[tuple[str, str | int | float]] | None
    json: Any
    files: Mapping[str, FileEntry] | Sequence[tuple[str, FileEntry]] | None
    streaming_callback: Callable[[bytes], object] | None
    proxy: str | None


class FetchOptions:
    """The checked keywords of one fetch, defaults included, as attributes."""

    method: str
    #: Percent-encoded: the query, or the form body.
    params: str | None
    keep_alive: bool
    #: The value of the header.
    cookie: str | None
    http_version: str
    use_gzip: bool
    allow_redirects: bool
    max_redirects: int
    on_headers: Callable[[HTTPHeaders], Any] | None
    body: Any
    request_timeout: float
    connect_timeout: float
    auth_username: str | None
    auth_password: str | None
    user_agent: str
    #: The lines of each header name, by the name in lower case.
    headers: dict[str, str] | None
    #: The text of the value.
    json: bytes | None
    files: list[FilePart] | None
    streaming_callback: Callable[[bytes], Any] | None
    #: The str `ENVIRONMENT` selects the proxy variables of the environment.
    proxy: Proxy | str | None
    #: Whether none of the rare keywords is set.
    is_plain: bool

    def __init__(self, values: dict[str, Any]) -> None:
        # A copy into attributes would cost each fetch a microsecond.
        self.__dict__ = values


_CHECKS = {name: keyword.check for name, keyword in KEYWORDS.items()}
_BUILT_IN = {name: keyword.default for name, keyword in KEYWORDS.items()} | {"is_plain": True}
_RARE = frozenset(name for name, keyword in KEYWORDS.items() if keyword.is_rare)

_defaults = FetchOptions(_BUILT_IN)


def set_defaults(values: Mapping[str, Any]) -> None:
    """Make ``values`` the defaults of every fetch.

    The other defaults do not change. ``None`` restores the built-in default.

    :raises TypeError, ValueError: as `resolve`.
    """
    global _defaults
    restored = {name: _BUILT_IN[name] for name in values if name in KEYWORDS}
    defaults = _defaults.__dict__ | restored
    _check_into(defaults, "configure()", values)
    defaults["is_plain"] = all(defaults[name] is None for name in _RARE)
    _defaults = FetchOptions(defaults)


def reset_defaults() -> None:
    """Restore the built-in defaults."""
    global _defaults
    _defaults = FetchOptions(_BUILT_IN)


def resolve(table: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> FetchOptions:
    """Return the options of one fetch: keywords over the table over the defaults.

    ``None`` as a value has the same effect as omitting the keyword, like ``nil`` in Lua.

    :raises TypeError: for an unknown keyword, a value of the wrong type, or keywords that
        exclude each other.
    :raises ValueError: for an invalid value of the right type.
    """
    if table is not None and not isinstance(table, Mapping):
        raise TypeError(f"kwargs must be a mapping, not {type(table).__name__}")
    if not table and not keywords:
        return _defaults
    values = _defaults.__dict__.copy()
    if table:
        if keywords:
            # A keyword argument hides the value of the table, which is then not checked.
            table = {name: table[name] for name in table if keywords.get(name) is None}
        _check_into(values, "fetch()", table)
    if keywords:
        _check_into(values, "fetch()", keywords)
    if not _RARE.isdisjoint(keywords) or (table and not _RARE.isdisjoint(table)):
        values["is_plain"] = False
    if not values["is_plain"]:
        _check_one_body(values)
    return FetchOptions(values)


def _check_one_body(values: dict[str, Any]) -> None:
    if sum(values[name] is not None for name in ("body", "json", "files")) > 1:
        raise TypeError("fetch() takes only one of body, json and files; pass one of them")


def _check_into(values: dict[str, Any], where: str, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        check = _CHECKS.get(name)
        if check is None:
            if name in ADVICE:
                raise TypeError(f"{where} has no {name!r}; {ADVICE[name]}")
            raise checks.unknown_name(where, name, KEYWORDS)
        if value is not None:
            values[name] = check(name, value)
