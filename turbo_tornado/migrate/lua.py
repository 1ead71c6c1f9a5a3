"""Parses Lua, with the package luaparser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luaparser.astnodes import Node

#: The number literals of LuaJIT, which luaparser does not read.
_LUAJIT_NUMBER = re.compile(r"(?<![\w.])(0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?)(ULL|LL|i)\b", re.I)


class LuaSyntaxError(Exception):
    """The source is not valid Lua.

    :arg line: the line of the error. Default: 1.
    """

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def parse(source: str) -> Node:
    """Parse a program.

    :returns: its syntax tree.
    :raises LuaSyntaxError: for an invalid program.
    """
    from luaparser import ast

    try:
        try:
            return ast.parse(source)
        except ast.SyntaxException:
            if not _LUAJIT_NUMBER.search(source):
                raise
            # The suffix can also be within a string, where it does not matter either.
            return ast.parse(_LUAJIT_NUMBER.sub(r"\1", source))
    except ast.SyntaxException as error:
        found = re.search(r"line (\d+):\d+: (.*)", str(error), re.DOTALL)
        if found is None:
            raise LuaSyntaxError(str(error)) from None
        raise LuaSyntaxError(" ".join(found[2].split()), int(found[1])) from None
    except RecursionError:
        raise LuaSyntaxError("an expression is nested too deeply") from None


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes below a node, in the order of the source."""
    from luaparser.astnodes import Node

    for name, value in vars(node).items():
        if name.startswith("_") or name == "comments":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, Node):
                yield child


def text_of(node: Node | None) -> str | None:
    """Return the text of a string literal, or `None` for any other expression."""
    from luaparser.astnodes import String

    return node.raw if isinstance(node, String) else None


def name_of(node: Node | None) -> str | None:
    """Return the identifier of a plain name, or `None` for any other expression."""
    from luaparser.astnodes import Name

    return node.id if isinstance(node, Name) else None


def key_of(node: Node) -> str | None:
    """Return the constant key of an index or of a field of a table."""
    from luaparser.astnodes import Field, Index, IndexNotation

    if isinstance(node, Index):
        named = node.notation == IndexNotation.DOT
        return name_of(node.idx) if named else text_of(node.idx)
    if isinstance(node, Field):
        return text_of(node.key) if node.between_brackets else name_of(node.key)
    return None
