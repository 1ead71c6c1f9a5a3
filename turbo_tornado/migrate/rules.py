"""Finds the patterns of `patterns` in calls and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import patterns
from .lua import key_of, name_of, text_of
from .luapattern import is_plain, regex_of, route_of
from .types import (
    BASES,
    HANDLER,
    HTTP_CLIENT,
    HTTP_ERROR,
    RESPONSE,
    STATIC_FILE_HANDLER,
    TASK,
    Instance,
    Known,
    TableValue,
    UserClass,
    Value,
)

if TYPE_CHECKING:
    from luaparser.astnodes import Node

    from .resolver import Resolver

_NEEDS_BODY = ("POST", "PUT", "PATCH")


def dotted(node: Node) -> str:
    """Return ``os.execute`` for the expression, or an empty string."""
    name = name_of(node)
    if name is not None:
        return name
    key = key_of(node)
    owner = dotted(node.value) if key is not None else ""
    return f"{owner}.{key}" if owner else ""


def last_name(node: Node) -> str:
    """Return ``b`` for the expressions ``b`` and ``f().b``."""
    return name_of(node) or key_of(node) or ""


def keys(value: Value | None) -> list[str]:
    """Return the known keys of a table."""
    return list(value.fields) if isinstance(value, TableValue) else []


def fetched(owner: Value | None) -> Value | None:
    """Return what ``fetch`` of an object returns. Any other ``fetch`` is not Turbo's."""
    return Instance(RESPONSE) if _is_client(owner) else None


def _is_client(owner: Value | None) -> bool:
    return isinstance(owner, Instance) and owner.name == HTTP_CLIENT


def check_fetch(resolver: Resolver, owner: Value | None, values: list[Value | None]) -> None:
    """Check the keywords of ``fetch``."""
    if not _is_client(owner):
        return
    keywords = values[1] if len(values) > 1 else TableValue()
    if not isinstance(keywords, TableValue) or keywords.is_open:
        # They are not in this file, or computed.
        return
    if "allow_redirects" not in keywords.fields:
        resolver.report_pattern("fetch without allow_redirects", patterns.REDIRECTS)
    for keyword in sorted(keywords.fields.keys() - patterns.KEYWORDS):
        resolver.report_pattern(f"fetch with {keyword}", patterns.UNKNOWN_KEYWORD)
    method = (text_of(keywords.fields.get("method")) or "GET").upper()
    if method in _NEEDS_BODY and not {"body", "params"} & keywords.fields.keys():
        resolver.report_pattern(f"{method} without body and params", patterns.POST_WITHOUT_BODY)


def check_route(resolver: Resolver, values: Sequence[Value | None], nodes: Sequence[Node]) -> None:
    """Check ``{pattern, turbo.web.StaticFileHandler, path}``."""
    pattern = text_of(nodes[0]) if len(nodes) > 1 else None
    if pattern is not None and (_is_handler(values[1]) or pattern.startswith("^/")):
        regex = route_of(pattern)
        if regex != pattern:
            _report_lua_pattern(resolver, "route", pattern, regex)
    if len(values) < 3 or values[1] != Known(STATIC_FILE_HANDLER):
        return
    path = text_of(nodes[2])
    if path is not None and not path.endswith("/"):
        resolver.report_pattern(f"StaticFileHandler with {path}", patterns.FILE_ROUTE)


def _is_handler(value: Value | None) -> bool:
    if isinstance(value, UserClass):
        return value.base is not None and HANDLER in (value.base, *BASES.get(value.base, ()))
    return isinstance(value, Known) and HANDLER in BASES.get(value.name, ())


def _report_lua_pattern(
    resolver: Resolver, name: str, pattern: str, regex: str | None, call: str = "{}"
) -> None:
    replacement = ""
    # The escape sequences of a string of Lua are not those of Python.
    if regex is not None and "\\" not in pattern and '"' not in pattern:
        replacement = call.format(f'r"{regex}"')
    resolver.report_pattern(f'{name} "{pattern}"', patterns.LUA_PATTERN, replacement)


def check_method(
    resolver: Resolver, owner: Value | None, method: str, arguments: list[Node]
) -> None:
    """Check the call of a method: a pattern, or an error with a message."""
    if method in patterns.PATTERN_FUNCTIONS and owner is None:
        _check_text_function(resolver, method, arguments)
    elif method == "send_error" and len(arguments) > 1:
        resolver.report_pattern("send_error with a message", patterns.ERROR_PAGES)
    elif method == "new" and owner == Known(HTTP_ERROR):
        _check_error(resolver, arguments)


def _check_text_function(resolver: Resolver, function: str, arguments: list[Node]) -> None:
    """Check ``text:match(pattern)``, without the text."""
    pattern = text_of(arguments[0]) if arguments else None
    plain = function == "find" and len(arguments) > 2
    if pattern is not None and not plain and not is_plain(pattern):
        call = patterns.PATTERN_FUNCTIONS[function]
        _report_lua_pattern(resolver, function, pattern, regex_of(pattern), call)


def _check_error(resolver: Resolver, arguments: list[Node]) -> None:
    if len(arguments) > 1:
        resolver.report_pattern("HTTPError with a message", patterns.ERROR_PAGES)


def check_call(resolver: Resolver, name: str, nodes: list[Node]) -> None:
    """Check the call of a function."""
    module, _, last = name.rpartition(".")
    if name == HTTP_ERROR:
        _check_error(resolver, nodes)
    elif name == TASK and nodes and last_name(nodes[0]) == "add_timeout":
        resolver.report_pattern("task with add_timeout", patterns.SLEEP)
    elif module == "string" and last in patterns.PATTERN_FUNCTIONS:
        _check_text_function(resolver, last, nodes[1:])
    elif name == "error" and nodes and key_of(nodes[0]) == "error":
        resolver.report_pattern("error(res.error)", patterns.RAISED_ERROR)
    elif name == "require" and nodes:
        required = text_of(nodes[0])
        if required in patterns.BLOCKING_MODULES:
            resolver.report_pattern(
                f'require "{required}"', patterns.BLOCKING, patterns.BLOCKING_MODULES[required]
            )
    elif last in patterns.SLEEP_FUNCTIONS:
        resolver.report_pattern(name, patterns.SLEEP)
    elif name in patterns.BLOCKING_FUNCTIONS:
        command = text_of(nodes[0]) if nodes else None
        if command is not None and command.split()[:1] == ["sleep"]:
            resolver.report_pattern(f'{name} "{command}"', patterns.SLEEP)
        else:
            resolver.report_pattern(name, patterns.BLOCKING, patterns.BLOCKING_FUNCTIONS[name])
