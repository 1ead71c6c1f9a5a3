"""Finds the patterns of `patterns` in calls and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import patterns
from .lua import key_of, name_of, text_of
from .types import (
    HTTP_CLIENT,
    RESPONSE,
    STATIC_FILE_HANDLER,
    Instance,
    Known,
    TableValue,
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
    method = (text_of(keywords.fields.get("method")) or "GET").upper()
    if method in _NEEDS_BODY and not {"body", "params"} & keywords.fields.keys():
        resolver.report_pattern(f"{method} without body and params", patterns.POST_WITHOUT_BODY)


def check_route(resolver: Resolver, values: Sequence[Value | None], nodes: Sequence[Node]) -> None:
    """Check ``{pattern, turbo.web.StaticFileHandler, path}``."""
    if len(values) < 3 or values[1] != Known(STATIC_FILE_HANDLER):
        return
    path = text_of(nodes[2])
    if path is not None and not path.endswith("/"):
        resolver.report_pattern(f"StaticFileHandler with {path}", patterns.FILE_ROUTE)


def check_call(resolver: Resolver, name: str, nodes: list[Node]) -> None:
    """Check the call of a function."""
    last = name.rpartition(".")[2]
    if name == "error" and nodes and key_of(nodes[0]) == "error":
        resolver.report_pattern("error(res.error)", patterns.RAISED_ERROR)
    elif name == "require" and nodes:
        module = text_of(nodes[0])
        if module in patterns.BLOCKING_MODULES:
            resolver.report_pattern(
                f'require "{module}"', patterns.BLOCKING, patterns.BLOCKING_MODULES[module]
            )
    elif last in patterns.SLEEP_FUNCTIONS:
        resolver.report_pattern(name, patterns.SLEEP)
    elif name in patterns.BLOCKING_FUNCTIONS:
        command = text_of(nodes[0]) if nodes else None
        if command is not None and command.split()[:1] == ["sleep"]:
            resolver.report_pattern(f'{name} "{command}"', patterns.SLEEP)
        else:
            resolver.report_pattern(name, patterns.BLOCKING, patterns.BLOCKING_FUNCTIONS[name])
