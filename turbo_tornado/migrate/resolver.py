"""Walks through a program and follows the values of Turbo through its variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import rules
from .lua import children, key_of, name_of, text_of
from .names.index import MODULES, UNIQUE_METHODS
from .scopes import Scopes
from .types import (
    BASES,
    HANDLER,
    PARAMETERS,
    RESULTS,
    FunctionValue,
    Instance,
    Known,
    TableValue,
    UserClass,
    Value,
)

if TYPE_CHECKING:
    from luaparser.astnodes import Node


class Resolver(Scopes):
    """Reports the names of Turbo that a program uses, and patterns."""

    def run(self, program: Node) -> None:
        """Walk through a whole program."""
        self.visit(program)

    def visit(self, node: Node) -> Value | None:
        """Walk through a node.

        :returns: the value of an expression, if it is known.
        """
        before = self._line
        self._line = (node.first_token and node.line) or before
        method = getattr(self, f"_visit_{type(node).__name__}", self._visit_other)
        value: Value | None = method(node)
        self._line = before
        return value

    def _assign(self, target: Node, value: Value | None) -> None:
        name = name_of(target)
        if name is not None:
            self._set(name, value)
            self._use(name)
            return
        owner, key = self.visit(target.value), key_of(target)
        if isinstance(owner, Instance) and owner.user_class and key:
            owner.user_class.attributes[key] = value
        elif name_of(target.value) == "_G" and key:
            self._use(key)

    # Statements

    def _visit_other(self, node: Node) -> None:
        for child in children(node):
            self.visit(child)

    def _visit_Block(self, node: Node) -> None:
        with self._scope({}):
            self._visit_other(node)

    def _visit_Forin(self, node: Node) -> None:
        for child in node.iter if isinstance(node.iter, list) else [node.iter]:
            self.visit(child)
        with self._scope({name_of(target) or "": None for target in node.targets}):
            self.visit(node.body)

    def _visit_Fornum(self, node: Node) -> None:
        for child in (node.start, node.stop):
            self.visit(child)
        with self._scope({node.target.id: None}):
            self.visit(node.body)

    def _visit_Chunk(self, node: Node) -> None:
        # Not a separate scope: its locals are the outermost ones.
        self._visit_other(node.body)

    def _visit_Assign(self, node: Node, is_local: bool = False) -> None:
        for position, target in enumerate(node.targets):
            source = node.values[position] if position < len(node.values) else None
            value = None if source is None else self._value_for(target, source)
            if is_local:
                self._scopes[-1][target.id] = value
            else:
                self._assign(target, value)
            self._set_field(target, source)
        for source in node.values[len(node.targets) :]:
            self.visit(source)

    def _visit_LocalAssign(self, node: Node) -> None:
        self._visit_Assign(node, is_local=True)

    def _value_for(self, target: Node, source: Node) -> Value | None:
        """Return the value of an assignment. In a method, ``self`` is known."""
        owner = self._lookup(name_of(getattr(target, "value", None)) or "")
        if isinstance(owner, UserClass):
            with self._given(Instance(owner.base, owner)):
                return self.visit(source)
        return self.visit(source)

    def _set_field(self, target: Node, source: Node | None) -> None:
        """Follow ``kwargs.method = "POST"``."""
        owner = self._lookup(name_of(getattr(target, "value", None)) or "")
        if isinstance(owner, TableValue):
            key = key_of(target)
            if key is None or source is None:
                owner.is_open = True
            else:
                owner.fields[key] = source

    def _visit_Return(self, node: Node) -> None:
        values = node.values if isinstance(node.values, list) else [node.values]
        results = [self.visit(value) for value in values if value]
        if self._functions and results and self._functions[-1].result is None:
            self._functions[-1].result = results[0]

    # Functions

    def _function(
        self, node: Node, given: tuple[Value, ...] = (), owner: UserClass | None = None
    ) -> FunctionValue:
        """Walk through a function, of which the first parameters are known."""
        function = FunctionValue()
        names = [name_of(parameter) or "..." for parameter in node.args]
        values: dict[str, Value | None] = dict.fromkeys(names)
        values.update(zip(names, given, strict=False))
        if owner is not None:
            values["self"] = Instance(owner.base, owner)
        self._functions.append(function)
        with self._scope(values), self._given():
            self.visit(node.body)
        self._functions.pop()
        return function

    def _visit_AnonymousFunction(self, node: Node) -> Value:
        return self._function(node, self._parameters)

    def _visit_LocalFunction(self, node: Node) -> None:
        self._scopes[-1][node.name.id] = self._function(node)

    def _visit_Function(self, node: Node) -> None:
        """``function name()`` and ``function Class.name(self)``."""
        owner = self._lookup(name_of(getattr(node.name, "value", None)) or "")
        given = (Instance(owner.base, owner),) if isinstance(owner, UserClass) else ()
        self._assign(node.name, self._function(node, given))

    def _visit_Method(self, node: Node) -> None:
        """``function Class:name()``."""
        owner = self.visit(node.source)
        if not isinstance(owner, UserClass):
            self._function(node)
            return
        given: tuple[Value, ...] = ()
        for base in (owner.base, *BASES.get(owner.base or "", ())):
            full = f"{base}:{node.name.id}"
            if base and self._use(full):
                given = tuple(map(Instance, PARAMETERS.get(full, ())))
                break
        self._function(node, given, owner)

    # Expressions

    def _visit_Name(self, node: Node) -> Value | None:
        value = self._lookup(node.id)
        if not self._is_local(node.id):
            self._use(node.id)
        return value

    def _visit_Index(self, node: Node) -> Value | None:
        owner, key = self.visit(node.value), key_of(node)
        if key is None:
            self.visit(node.idx)
            return None
        if isinstance(owner, Known):
            return self._known(f"{owner.name}.{key}")
        if isinstance(owner, Instance):
            if owner.user_class and key in owner.user_class.attributes:
                return owner.user_class.attributes[key]
            if owner.name:
                return self._use_member(owner.name, key, ".:")
        elif owner is None:
            # A global, or ``coroutine.yield``.
            name = rules.dotted(node)
            if not self._is_local(name.partition(".")[0]):
                self._use(name.removeprefix("_G."))
        return None

    def _visit_Table(self, node: Node) -> Value:
        table = TableValue()
        values: list[Value | None] = []
        for field in node.fields:
            key = key_of(field)
            if key is not None:
                table.fields[key] = field.value
                given = tuple(map(Instance, PARAMETERS.get(key, ()))) or self._parameters
                with self._given(*given):
                    values.append(self.visit(field.value))
                continue
            if field.between_brackets:
                table.is_open = True
                self.visit(field.key)
            values.append(self.visit(field.value))
        rules.check_route(self, values, [field.value for field in node.fields])
        return table

    def _visit_Call(self, node: Node) -> Value | None:
        function = self.visit(node.func)
        name = function.name if isinstance(function, Known) else rules.dotted(node.func)
        with self._given(*map(Instance, PARAMETERS.get(name, ()))):
            arguments = [self.visit(argument) for argument in node.args]
        rules.check_call(self, name, node.args)
        if isinstance(function, Known):
            for key in [key for table in arguments for key in rules.keys(table)]:
                # The callbacks of a ``WebSocketClient``.
                self._use(f"{name}.{key}")
            return Instance(RESULTS.get(name, name))
        if isinstance(function, UserClass):
            return Instance(function.base, function)
        if isinstance(function, FunctionValue):
            return function.result
        return self._call_of_lua(name, node, arguments)

    def _call_of_lua(self, name: str, node: Node, arguments: list[Value | None]) -> Value | None:
        first = arguments[0] if arguments else None
        if name == "require" and node.args:
            module = text_of(node.args[0]) or ""
            return Known(module) if module in MODULES else None
        if name == "class":
            parent = arguments[1] if len(arguments) > 1 else None
            if isinstance(parent, UserClass):
                return UserClass(parent.base, dict(parent.attributes))
            if isinstance(parent, Known):
                return UserClass(parent.name)
            # A class of another file.
            parent_name = rules.last_name(node.args[1]) if len(node.args) > 1 else ""
            return UserClass(HANDLER if parent_name.endswith("Handler") else None)
        # Also for ``local yield = coroutine.yield``.
        return first if name in ("coroutine.yield", "yield") else None

    def _visit_Invoke(self, node: Node) -> Value | None:
        owner, method = self.visit(node.source), node.func.id
        result: Value | None = None
        name = method
        if isinstance(owner, Known):
            name = owner.name
            result = Instance(owner.name) if method == "new" else None
            if result is None:
                self._known(f"{owner.name}.{method}")
        elif isinstance(owner, UserClass):
            result = Instance(owner.base, owner) if method == "new" else None
        elif isinstance(owner, Instance) and owner.name:
            result = self._use_member(owner.name, method, ":")
        elif owner is None and method in UNIQUE_METHODS:
            full = UNIQUE_METHODS[method]
            self._use(full)
            result = Instance(RESULTS[full]) if full in RESULTS else None
        with self._given(*map(Instance, PARAMETERS.get(name, ()))):
            arguments = [self.visit(argument) for argument in node.args]
        rules.check_method(self, owner, method, node.args)
        if method == "fetch":
            rules.check_fetch(self, owner, arguments)
            return result or rules.fetched(owner)
        if method == "add_handler":
            rules.check_route(self, arguments, node.args)
        return result
