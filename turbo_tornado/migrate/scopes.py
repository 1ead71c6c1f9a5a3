"""The variables of a program, and the report of its names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .names.index import MODULES, find
from .patterns import Pattern
from .types import BASES, RESULTS, FunctionValue, Instance, Known, Value

#: Where a name of Turbo that has no row is reported.
UNKNOWN = ("not in the tables of the guide", "migration.md#names")


class Scopes:
    """The variables that are visible, and what is reported about the current line.

    :arg report: called with the line, the name, the replacement and the anchor.
    """

    def __init__(self, report: Callable[[int, str, str, str], object]) -> None:
        self._report = report
        self._scopes: list[dict[str, Value | None]] = [{}]
        self._line = 1
        #: The types of the parameters of the functions in the current expression.
        self._parameters: tuple[Value, ...] = ()
        self._functions: list[FunctionValue] = []

    # Reports

    def report_pattern(self, name: str, pattern: Pattern, replacement: str = "") -> None:
        """Report a pattern at the current line."""
        self._report(self._line, name, replacement or pattern.replacement, pattern.anchor)

    def _use(self, name: str) -> bool:
        """Report a name of Turbo, and return whether it has a row."""
        entry = find(name)
        if entry is not None:
            self._report(self._line, name, entry.written, entry.section.anchor)
        return entry is not None

    def _use_member(self, owner: str, member: str, separators: str) -> Value | None:
        """Report an attribute or a method of a class of Turbo."""
        for name in (owner, *BASES.get(owner, ())):
            for separator in separators:
                full = f"{name}{separator}{member}"
                if self._use(full):
                    return Instance(RESULTS[full]) if full in RESULTS else None
        return None

    def _known(self, name: str) -> Value | None:
        if name in MODULES:
            return Known(name)
        if self._use(name):
            return Known(name)
        owner, _, member = name.rpartition(".")
        if owner not in MODULES:
            # ``turbo.web.RequestHandler.prepare(self)``, or a constant of a table.
            self._use_member(owner, member, ":")
        elif name.startswith("turbo."):
            self._report(self._line, name, *UNKNOWN)
        return None

    # Variables

    def _lookup(self, name: str) -> Value | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return Known("turbo") if name == "turbo" else None

    def _is_local(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _set(self, name: str, value: Value | None) -> None:
        """Assign to the innermost variable of this name, or to a global."""
        holders = [scope for scope in self._scopes if name in scope]
        (holders[-1] if holders else self._scopes[0])[name] = value

    @contextmanager
    def _scope(self, values: dict[str, Value | None]) -> Iterator[None]:
        self._scopes.append(values)
        yield
        self._scopes.pop()

    @contextmanager
    def _given(self, *parameters: Value) -> Iterator[None]:
        before, self._parameters = self._parameters, parameters
        yield
        self._parameters = before
