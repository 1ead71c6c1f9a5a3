"""`HTTPHeaders`: Tornado's header mapping with the methods of Turbo's.

A header block that came from the network, or that is about to go there, is kept as
the bytes that it is and parsed when somebody first looks into it: most responses
are read for their status and body only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tornado import httputil
from tornado.httputil import HTTPInputError

__all__ = ["HTTPHeaders", "HTTPInputError"]

#: A token (RFC 9110, section 5.6.2), such as a method or the name of a field.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

_NOT_IN_A_FIELD = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_NOT_IN_A_LINE = re.compile(r"[^\x21-\x7e]")
_TOKEN = re.compile(TOKEN)


def split_fields(block: bytes) -> Iterable[tuple[str, str]]:
    """Yields the name and value of each field line in ``block``.

    The block has been validated or was built by us: every line is ``name: value``,
    ended by CR LF or LF.
    """
    for line in block.decode("latin-1").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            yield name, value.strip(" \t\r")


class HTTPHeaders(httputil.HTTPHeaders):
    """Header fields of a request or a response, with the line that precedes them.

    A `tornado.httputil.HTTPHeaders` (a case-insensitive mapping whose repeated
    fields are joined by commas, with ``add``, ``get_list`` and ``get_all``), and the
    methods of ``turbo.httputil.HTTPHeaders`` that code written for Turbo.lua calls.
    Names are case-insensitive throughout, as HTTP has it; Turbo's ``caseinsensitive``
    arguments are accepted and change nothing.

    >>> headers = HTTPHeaders({"Content-Type": "text/plain"})
    >>> headers.get("content-type", True)
    'text/plain'
    >>> headers.add("Vary", "Accept")
    >>> headers.add("Vary", "Cookie")
    >>> headers.get_list("Vary")
    ['Accept', 'Cookie']

    Answers to ``turbo.httputil.HTTPHeaders``.
    """

    _deferred: bytes | None = None
    _method: str | None = None
    _uri: str | None = None
    _version: str | None = None
    _status_code: int | None = None

    @classmethod
    def deferred(cls, block: bytes) -> HTTPHeaders:
        """Returns the headers in ``block``, to be parsed when they are first used.

        :arg bytes block: validated field lines, each ended by CR LF or LF.
        """
        headers = cls.__new__(cls)
        headers._deferred = block
        return headers

    def __getattr__(self, name: str) -> Any:
        # Reached only when an attribute is missing: the storage of the base class,
        # whatever a Tornado version calls it, does not exist before the first use.
        block = self.__dict__.pop("_deferred", None)
        if block is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        httputil.HTTPHeaders.__init__(self)
        for field, value in split_fields(block):
            self.add(field, value)
        return getattr(self, name)

    def get(self, key: str, default: Any = None, *, caseinsensitive: bool | None = None) -> Any:
        """Returns the value of a field, or a default.

        :arg str key: name of the field.
        :arg bool caseinsensitive: Turbo's flag by its name; changes nothing.
        :arg default: what to return when there is no such field. A bool is Turbo's
            ``caseinsensitive`` flag and not a default: the result is then ``None``.
        :rtype: str or None

        Answers to ``turbo.httputil.HTTPHeaders:get(key, caseinsensitive)``.
        """
        try:
            return self[key]
        except KeyError:
            return None if isinstance(default, bool) else default

    def add(self, name: str, value: str | int, **kwargs: Any) -> None:
        """Adds a field, beside any that has the same name.

        :arg str name: name of the field.
        :arg value: a str, or a number as Turbo allows.
        :arg kwargs: what Tornado's own method takes besides, of whatever version.
        :raises TypeError: for a name or a value of another type.
        :raises ValueError: for a name that is no token, or a value with CR, LF, NUL or
            another control character, or one beyond Latin-1.

        Answers to ``turbo.httputil.HTTPHeaders:add(key, value)``.
        """
        super().add(check_name(name), _checked(name, value), **kwargs)

    def __setitem__(self, name: str, value: str | int) -> None:
        super().__setitem__(check_name(name), _checked(name, value))

    def set(self, key: str, value: str | int, caseinsensitive: bool | None = None) -> None:
        """Sets a field, in place of all that have the same name.

        :arg str key: name of the field.
        :arg value: a str or a number.
        :arg bool caseinsensitive: Turbo's flag; changes nothing.
        :raises TypeError: as for `add`.
        :raises ValueError: as for `add`.

        Answers to ``turbo.httputil.HTTPHeaders:set(key, value, caseinsensitive)``.
        """
        self[key] = value

    def remove(self, key: str, caseinsensitive: bool | None = None) -> None:
        """Removes every field of this name; does nothing when there is none.

        :arg str key: name of the field.
        :arg bool caseinsensitive: Turbo's flag; changes nothing.

        Answers to ``turbo.httputil.HTTPHeaders:remove(key, caseinsensitive)``.
        """
        self.pop(key, None)

    def get_method(self) -> str | None:
        """Returns the request method, ``None`` for a response.

        :rtype: str or None

        Answers to ``turbo.httputil.HTTPHeaders:get_method()``.
        """
        return self._method

    def set_method(self, method: str) -> None:
        """Sets the request method; in ``on_headers``, the one that is sent.

        :arg str method: a token such as ``"GET"``.
        :raises TypeError: when it is not a str.

        Answers to ``turbo.httputil.HTTPHeaders:set_method(method)``.
        """
        self._method = _text("method", method)

    def get_uri(self) -> str | None:
        """Returns the request target (path and query), ``None`` for a response.

        :rtype: str or None

        Answers to ``turbo.httputil.HTTPHeaders:get_uri()``.
        """
        return self._uri

    def set_uri(self, uri: str) -> None:
        """Sets the request target; in ``on_headers``, the one that is sent.

        :arg str uri: path and query.
        :raises TypeError: when it is not a str.

        Answers to ``turbo.httputil.HTTPHeaders:set_uri(uri)``.
        """
        self._uri = _text("uri", uri)

    def get_version(self) -> str | None:
        """Returns the HTTP version, such as ``"HTTP/1.1"``.

        :rtype: str or None

        Answers to ``turbo.httputil.HTTPHeaders:get_version()``.
        """
        return self._version

    def set_version(self, version: str) -> None:
        """Sets the HTTP version; in ``on_headers``, the one that is sent.

        :arg str version: such as ``"HTTP/1.1"``.
        :raises TypeError: when it is not a str.

        Answers to ``turbo.httputil.HTTPHeaders:set_version(version)``.
        """
        self._version = _text("version", version)

    def get_status_code(self) -> int | None:
        """Returns the status code of a response, ``None`` for a request.

        :rtype: int or None

        Answers to ``turbo.httputil.HTTPHeaders:get_status_code()``.
        """
        return self._status_code

    def set_status_code(self, code: int) -> None:
        """Sets the status code of a response.

        :arg int code: such as 200.
        :raises TypeError: when ``code`` is not an int.

        Answers to ``turbo.httputil.HTTPHeaders:set_status_code(code)``.
        """
        if not isinstance(code, int) or isinstance(code, bool):
            raise TypeError(f"status code must be an int, not {type(code).__name__}")
        self._status_code = code

    def stringify_as_request(self) -> str:
        """Returns the request head: request line, fields, and the empty line.

        :rtype: str
        :raises ValueError: when method, uri or version is not set, or for what no field
            can have.

        Answers to ``turbo.httputil.HTTPHeaders:stringify_as_request()``.
        """
        line = (self._method, self._uri, self._version)
        for part in line:
            if not part or _NOT_IN_A_LINE.search(part):
                raise ValueError("method, uri and version must be set, and have no white space")
        return "{} {} {}\r\n{}\r\n".format(*line, field_lines(self))

    def copy(self) -> HTTPHeaders:
        """Returns an independent copy, with the method, uri, version and status code.

        :rtype: HTTPHeaders

        Tornado's; Turbo has no such thing.
        """
        copied = type(self)(self)
        for attribute in ("_method", "_uri", "_version", "_status_code"):
            setattr(copied, attribute, getattr(self, attribute))
        return copied

    __copy__ = copy


def plain(value: str | int | float) -> str:
    """Returns the text of a str or a number, whatever a subclass makes of itself.

    Not what ``str()`` gives, which may be another text at each call; and of an enum that
    is a str or a number, the value is wanted.
    """
    if isinstance(value, str):
        return str.__str__(value)
    return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)


def field_lines(headers: httputil.HTTPHeaders) -> str:
    """Returns the field lines of ``headers``, each ended by CR LF.

    The last look at what goes on the wire: there are ways into a mapping, such as the
    list that Tornado's ``get_list`` gives away, on which nothing is checked.

    :raises ValueError: for a name that is no token, or a value that no field can have.
    """
    lines = []
    for name, value in headers.get_all():
        lines.append(f"{check_name(name)}: {check_value(f'header {name!r}', plain(value))}\r\n")
    return "".join(lines)


def check_name(name: object) -> str:
    """Checks what is to be the name of a field, and returns it.

    :raises TypeError: when it is not a str.
    :raises ValueError: when it is no token.
    """
    if not isinstance(name, str):
        raise TypeError(f"header name must be a str, not {type(name).__name__}")
    text = plain(name)
    if not _TOKEN.fullmatch(text):
        # Of a whole line that was given for a name, the value is not shown.
        raise ValueError(f"{text.partition(':')[0]!r} cannot be the name of a header")
    return text


def _text(what: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    return plain(value)


def _checked(name: str, value: str | int) -> str:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise TypeError(
            f"value of header {name!r} must be a str or a number, not {type(value).__name__}"
        )
    return check_value(f"value of header {name!r}", plain(value).strip(" \t"))


def check_value(what: str, text: str) -> str:
    """Checks what is to be the value of a field, and returns it.

    :raises ValueError: when it has a control character, such as CR, LF or NUL, or one
        beyond Latin-1.
    """
    if bad := _NOT_IN_A_FIELD.search(text):
        raise ValueError(f"{what} has {bad[0]!r}, which a header cannot carry")
    return text
