"""Values in messages: escaped, quoted and cut."""

from __future__ import annotations

#: Characters of a value that a message contains.
MAX_LENGTH = 100


def printable(text: str) -> str:
    """Return ``text`` with its control characters escaped.

    A message can quote the peer, and a log reader would take a line break in it for the end
    of the entry.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str) -> str:
    """Return ``text``, cut to `MAX_LENGTH` characters."""
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}..."


def quoted(value: object) -> str:
    """Return the ``repr`` of a value, cut to `MAX_LENGTH` characters."""
    if isinstance(value, str):
        text = str.__str__(value)
        return repr(text) if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]!r}..."
    return shortened(repr(value))
