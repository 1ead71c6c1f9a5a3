"""`HTTPHeaders`: Tornado's header mapping with Turbo's methods.

A header block stays bytes until the first access to a header, because most callers read only
the status and the body of a response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tornado import httputil
from tornado.httputil import HTTPInputError

from .messages import quoted

__all__ = ["HTTPHeaders", "HTTPInputError"]

#: A token (RFC 9110, section 5.6.2), such as a method or a header name.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

_INVALID_IN_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_INVALID_IN_REQUEST_LINE = re.compile(r"[^\x21-\x7e]")
_TOKEN = re.compile(TOKEN)


def _split(block: bytes) -> Iterable[tuple[str, str]]:
    """Yield the name and the value of each header line.

    :arg bytes block: valid header lines, each ended by CR LF or LF.
    """
    for line in block.decode("latin-1").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            yield name, value.strip(" \t\r")


class HTTPHeaders(httputil.HTTPHeaders):
    """The headers of a request or a response, with its request line or status line.

    A `tornado.httputil.HTTPHeaders` with the methods of ``turbo.httputil.HTTPHeaders``. It is
    a mapping with case-insensitive names. A repeated header has one value, joined by commas;
    ``get_list`` returns the values as a list. Turbo's ``caseinsensitive`` arguments are
    accepted and have no effect.

    >>> headers = HTTPHeaders({"Content-Type": "text/plain"})
    >>> headers.get("content-type", True)
    'text/plain'
    >>> headers.add("Vary", "Accept")
    >>> headers.add("Vary", "Cookie")
    >>> headers.get_list("Vary")
    ['Accept', 'Cookie']

    Equivalent to ``turbo.httputil.HTTPHeaders``.
    """

    _deferred: bytes | None = None
    _method: str | None = None
    _uri: str | None = None
    _version: str | None = None
    _status_code: int | None = None

    @classmethod
    def deferred(cls, block: bytes) -> HTTPHeaders:
        """Return the headers in ``block``, which the first access parses.

        :arg bytes block: valid header lines, each ended by CR LF or LF.
        """
        headers = cls.__new__(cls)
        headers._deferred = block
        return headers

    def __getattr__(self, name: str) -> Any:
        # Called only for a missing attribute. The attributes of the base class, whose names
        # depend on the version of Tornado, do not exist before the first access.
        attributes = self.__dict__
        block = attributes.get("_deferred")
        if block is not None:
            parsed = httputil.HTTPHeaders()
            for header, value in _split(block):
                parsed.add(header, value)
            # In one step, because another thread can read the headers at the same time.
            attributes.update(parsed.__dict__)
            attributes.pop("_deferred", None)
        try:
            return attributes[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            ) from None

    def get(self, key: str, default: Any = None, *, caseinsensitive: bool | None = None) -> Any:
        """Return the value of a header, or a default.

        :arg str key: name of the header.
        :arg default: the result for a missing header. Default: ``None``. A bool is Turbo's
            ``caseinsensitive`` flag, which has no effect: the result is then ``None``.
        :arg bool caseinsensitive: Turbo's flag as a keyword; has no effect.
        :rtype: str or None

        Equivalent to ``turbo.httputil.HTTPHeaders:get(key, caseinsensitive)``.
        """
        try:
            return self[key]
        except KeyError:
            return None if isinstance(default, bool) else default

    def add(self, name: str, value: str | int, **kwargs: Any) -> None:
        """Add a header and keep those with the same name.

        :arg str name: name of the header.
        :arg value: a str, or a number, as Turbo allows.
        :arg kwargs: further arguments of Tornado's method, which depend on its version.
        :raises TypeError: for a name or a value of another type.
        :raises ValueError: for a name that is not a token, or a value with a control character,
            such as CR, LF or NUL, or with a character outside Latin-1.

        Equivalent to ``turbo.httputil.HTTPHeaders:add(key, value)``.
        """
        super().add(check_name(name), check_header_value(name, value), **kwargs)

    def __setitem__(self, name: str, value: str | int) -> None:
        super().__setitem__(check_name(name), check_header_value(name, value))

    def set(self, key: str, value: str | int, caseinsensitive: bool | None = None) -> None:
        """Set a header and replace those with the same name.

        :arg str key: name of the header.
        :arg value: a str or a number.
        :arg bool caseinsensitive: Turbo's flag; has no effect.
        :raises TypeError: as for `add`.
        :raises ValueError: as for `add`.

        Equivalent to ``turbo.httputil.HTTPHeaders:set(key, value, caseinsensitive)``.
        """
        self[key] = value

    def remove(self, key: str, caseinsensitive: bool | None = None) -> None:
        """Remove all headers with this name, if any.

        :arg str key: name of the header.
        :arg bool caseinsensitive: Turbo's flag; has no effect.

        Equivalent to ``turbo.httputil.HTTPHeaders:remove(key, caseinsensitive)``.
        """
        self.pop(key, None)

    def get_method(self) -> str | None:
        """Return the request method, ``None`` for a response.

        :rtype: str or None

        Equivalent to ``turbo.httputil.HTTPHeaders:get_method()``.
        """
        return self._method

    def set_method(self, method: str) -> None:
        """Set the request method. In ``on_headers``, the client sends this method.

        :arg str method: a token such as ``"GET"``.
        :raises TypeError: for any other type.

        Equivalent to ``turbo.httputil.HTTPHeaders:set_method(method)``.
        """
        self._method = _text("method", method)

    def get_uri(self) -> str | None:
        """Return the request target (path and query), ``None`` for a response.

        :rtype: str or None

        Equivalent to ``turbo.httputil.HTTPHeaders:get_uri()``.
        """
        return self._uri

    def set_uri(self, uri: str) -> None:
        """Set the request target. In ``on_headers``, the client sends this target.

        :arg str uri: path and query.
        :raises TypeError: for any other type.

        Equivalent to ``turbo.httputil.HTTPHeaders:set_uri(uri)``.
        """
        self._uri = _text("uri", uri)

    def get_version(self) -> str | None:
        """Return the HTTP version, such as ``"HTTP/1.1"``.

        :rtype: str or None

        Equivalent to ``turbo.httputil.HTTPHeaders:get_version()``.
        """
        return self._version

    def set_version(self, version: str) -> None:
        """Set the HTTP version. In ``on_headers``, the client sends this version.

        :arg str version: such as ``"HTTP/1.1"``.
        :raises TypeError: for any other type.

        Equivalent to ``turbo.httputil.HTTPHeaders:set_version(version)``.
        """
        self._version = _text("version", version)

    def get_status_code(self) -> int | None:
        """Return the status code of a response, ``None`` for a request.

        :rtype: int or None

        Equivalent to ``turbo.httputil.HTTPHeaders:get_status_code()``.
        """
        return self._status_code

    def set_status_code(self, code: int) -> None:
        """Set the status code of a response.

        :arg int code: such as 200.
        :raises TypeError: for any other type.

        Equivalent to ``turbo.httputil.HTTPHeaders:set_status_code(code)``.
        """
        if not isinstance(code, int) or isinstance(code, bool):
            raise TypeError(f"status code must be an int, not {type(code).__name__}")
        self._status_code = code

    def stringify_as_request(self) -> str:
        """Return the request head: request line, headers and the empty line.

        :rtype: str
        :raises ValueError: for a method, uri or version that is missing or has white space, or
            an invalid header.

        Equivalent to ``turbo.httputil.HTTPHeaders:stringify_as_request()``.
        """
        line = (self._method, self._uri, self._version)
        for part in line:
            if not part or _INVALID_IN_REQUEST_LINE.search(part):
                raise ValueError(
                    "method, uri and version must be set, to printable ASCII without spaces"
                )
        return "{} {} {}\r\n{}\r\n".format(*line, header_lines(self))

    def copy(self) -> HTTPHeaders:
        """Return an independent copy, with the method, uri, version and status code.

        :rtype: HTTPHeaders

        Turbo has no equivalent.
        """
        copied = type(self)(self)
        for attribute in ("_method", "_uri", "_version", "_status_code"):
            setattr(copied, attribute, getattr(self, attribute))
        return copied

    __copy__ = copy


def exact_text(value: str | int | float) -> str:
    """Return the text of a str or a number.

    Unlike ``str()``, it ignores the methods of a subclass, whose result can differ between
    the check and the use of the text. An enum returns its value.
    """
    if isinstance(value, str):
        return str.__str__(value)
    return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)


def header_lines(headers: httputil.HTTPHeaders) -> str:
    """Return the header lines of ``headers``, each ended by CR LF.

    Checks every header again: a caller can bypass the checks of the mapping, for example by
    changing a list that Tornado's ``get_list`` has returned.

    :raises ValueError: for an invalid name or value.
    """
    lines = []
    for name, value in headers.get_all():
        lines.append(
            f"{check_name(name)}: {check_value(f'header {quoted(name)}', exact_text(value))}\r\n"
        )
    return "".join(lines)


def check_name(name: object) -> str:
    """Check a header name and return it.

    :raises TypeError: for any type other than str.
    :raises ValueError: for a name that is not a token.
    """
    if not isinstance(name, str):
        raise TypeError(f"header name must be a str, not {type(name).__name__}")
    text = exact_text(name)
    if not _TOKEN.fullmatch(text):
        # A caller can pass a whole header line by mistake, and its value can be secret.
        raise ValueError(f"{quoted(text.partition(':')[0])} is not a valid header name")
    return text


def _text(what: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    return exact_text(value)


def check_header_value(name: str, value: object) -> str:
    """Check the value of a header and return its text.

    :arg str name: the name of the header, for the message.
    :raises TypeError: for any type other than str and number.
    :raises ValueError: as `check_value`.
    """
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise TypeError(
            f"value of header {quoted(name)} must be a str or a number, not {type(value).__name__}"
        )
    return check_value(f"value of header {quoted(name)}", exact_text(value).strip(" \t"))


def check_value(what: str, text: str) -> str:
    """Check a header value and return it without the white space around it.

    White space around a value is not part of it (RFC 9110, section 5.5).

    :arg str what: the name of the value in the message.
    :raises ValueError: for a control character, such as CR, LF or NUL, or a character outside
        Latin-1.
    """
    if bad := _INVALID_IN_VALUE.search(text):
        raise ValueError(f"{what} has {bad[0]!r}, which is invalid in a header")
    return text.strip(" \t")
