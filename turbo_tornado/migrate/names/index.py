"""Finds the row of a name."""

from __future__ import annotations

from typing import NamedTuple

from . import SECTIONS
from .row import Row, Section

#: Rows that are neither of Turbo's modules nor of a class in them.
_GLOBAL = ("turbo.", "coroutine.", "turbovisor")


class Entry(NamedTuple):
    """A name in the tables."""

    section: Section
    row: Row
    replacement: str

    @property
    def written(self) -> str:
        """The replacement and the warnings of the row."""
        return "; ".join([self.replacement, *self.row.warnings])


def full_name(section: Section, name: str) -> str:
    """Return ``turbo.async.HTTPClient:fetch`` for ``HTTPClient:fetch(url, kwargs)``."""
    name = name.partition("(")[0]
    if not section.module or name.startswith(_GLOBAL):
        return name
    return f"{section.module}.{name}"


def _entries() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for section in SECTIONS:
        for row in section.rows:
            for position, name in enumerate(row.names):
                entry = Entry(section, row, row.replacement_for(position))
                found.setdefault(full_name(section, name), entry)
    return found


#: Full name -> its entry.
ENTRIES = _entries()
_PREFIXES = {name[:-1]: entry for name, entry in ENTRIES.items() if name.endswith("*")}
#: The modules, such as ``turbo`` and ``turbo.web``.
MODULES = {
    name[:end]
    for name in ENTRIES
    if name.startswith("turbo.")
    for end, character in enumerate(name)
    if character == "." and name[:end] not in ENTRIES
}


def find(name: str) -> Entry | None:
    """Return the entry of a full name, or `None`."""
    if name in ENTRIES:
        return ENTRIES[name]
    prefixes = [prefix for prefix in _PREFIXES if name.startswith(prefix)]
    return _PREFIXES[max(prefixes, key=len)] if prefixes else None


def _unique_methods() -> dict[str, str]:
    owners: dict[str, set[str]] = {}
    for name in ENTRIES:
        owner, colon, method = name.partition(":")
        if colon and "_" in method.strip("_"):
            owners.setdefault(method, set()).add(owner)
    return {
        method: f"{next(iter(owner))}:{method}"
        for method, owner in owners.items()
        if len(owner) == 1
    }


#: Methods with an underscore in the name that only one class has -> their full name.
UNIQUE_METHODS = _unique_methods()
