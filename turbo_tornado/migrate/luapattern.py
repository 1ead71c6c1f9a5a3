"""Translates Lua patterns to regular expressions."""

from __future__ import annotations

import re

#: Class of Lua -> the inside of a set of Python.
_CLASSES = {
    "a": "A-Za-z",
    "c": r"\x00-\x1f\x7f",
    "d": "0-9",
    "l": "a-z",
    "p": r"!-/:-@\[-`{-~",
    "s": r"\s",
    "u": "A-Z",
    "w": "A-Za-z0-9",
    "x": "0-9A-Fa-f",
}
_END = r"\Z"
_QUANTIFIERS = {"*": "*", "+": "+", "?": "?", "-": "*?"}
_SPECIAL = frozenset("\\.^$*+?{}[]|()")
_SPECIAL_IN_SET = frozenset("\\[]^-&~|")


class _CannotTranslate(Exception):
    """A pattern is invalid, or a part of it has no counterpart."""


def regex_of(pattern: str) -> str | None:
    """Translate a pattern for ``re.search``.

    :returns: the regular expression, or `None` if there is no counterpart.
    """
    return _joined(_parts(pattern))


def route_of(pattern: str) -> str | None:
    """Translate the pattern of a route.

    Turbo searches the pattern in the path, Tornado matches the whole path.

    :returns: the regular expression, or `None` if there is no counterpart.
    """
    parts = _parts(pattern)
    if parts is None:
        return None
    start = parts[1:] if parts[:1] == ["^"] else [".*?", *parts]
    return _joined(start[:-1] if start[-1:] == [_END] else [*start, ".*"])


def _parts(pattern: str) -> list[str] | None:
    try:
        return _Translation(pattern).parts()
    except (_CannotTranslate, IndexError):
        return None


def _joined(parts: list[str] | None) -> str | None:
    regex = None if parts is None else "".join(parts)
    try:
        # Lua accepts a pattern with an unclosed group until it matches.
        re.compile(regex or "")
    except re.error:
        return None
    return regex


def is_plain(pattern: str) -> bool:
    """Return whether a pattern is text without special characters."""
    return not set(pattern) & set("^$()%.[]*+-?")


def _escaped(character: str, special: frozenset[str]) -> str:
    return f"\\{character}" if character in special else character


class _Translation:
    """One pattern and the position in it."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0

    def _next(self) -> str:
        self._position += 1
        return self._pattern[self._position - 1]

    def _rest(self) -> str:
        return self._pattern[self._position :]

    def parts(self) -> list[str]:
        """Return the parts of the regular expression."""
        found = []
        if self._rest().startswith("^"):
            found.append(self._next())
        while self._rest():
            if self._rest() == "$":
                self._next()
                found.append(_END)
            elif self._rest()[0] in "()":
                if self._rest().startswith("()"):
                    raise _CannotTranslate
                found.append(self._next())
            else:
                found.append(self._item())
        return found

    def _item(self) -> str:
        """Return one character or class, and its quantifier."""
        character = self._next()
        if character == "%" and self._rest()[:1].isdigit():
            # A reference to a group has no quantifier.
            return f"\\{self._next()}"
        if character == "%":
            item = self._class(self._next())
        elif character == "[":
            item = self._set()
        else:
            item = character if character == "." else _escaped(character, _SPECIAL)
        if self._rest()[:1] in _QUANTIFIERS:
            item += _QUANTIFIERS[self._next()]
        return item

    def _class(self, letter: str) -> str:
        if letter in "bf":
            raise _CannotTranslate
        inside = _CLASSES.get(letter.lower()) if letter.isalpha() else None
        if inside is None:
            return _escaped(letter, _SPECIAL)
        if letter in "sS":
            return f"\\{letter}"
        return f"[^{inside}]" if letter.isupper() else f"[{inside}]"

    def _set(self) -> str:
        found = ["["]
        if self._rest().startswith("^"):
            found.append(self._next())
        first = True
        while first or not self._rest().startswith("]"):
            found.append(self._member())
            first = False
        return "".join([*found, self._next()])

    def _member(self) -> str:
        """Return one character, class or range of a set."""
        character = self._next()
        if character == "%":
            letter = self._next()
            if letter.lower() not in _CLASSES:
                return _escaped(letter, _SPECIAL_IN_SET)
            if letter.isupper() and letter != "S":
                # The complement of a class within a set.
                raise _CannotTranslate
            return r"\S" if letter == "S" else _CLASSES[letter]
        start = _escaped(character, _SPECIAL_IN_SET)
        if self._rest().startswith("-") and self._rest()[1:2] not in ("]", ""):
            self._next()
            return f"{start}-{_escaped(self._next(), _SPECIAL_IN_SET)}"
        return start
