"""The keywords of ``fetch``: their types, their defaults, and what is wrong with a value.

One table says everything about a keyword. A mistake of the calling code is found
here, before anything else happens, and raises.
"""

from __future__ import annotations

import base64
import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypedDict
from urllib.parse import quote

from ._version import __version__
from .headers import TOKEN, HTTPHeaders, check_value, plain

HTTP_VERSIONS = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")
_TOKEN = re.compile(TOKEN)


class FetchKeywords(TypedDict, total=False):
    """The keywords of `HTTPClient.fetch`, for type checkers and editors.

    Annotates a table that is kept and used again::

        defaults: FetchKeywords = {"request_timeout": 15, "max_redirects": 2}
        response = await client.fetch(url, defaults)

    ``None`` is the same as a keyword that is not given.

    Answers to the ``kwargs`` table of ``turbo.async.HTTPClient:fetch``.
    """

    method: str | None
    params: Mapping[str, Any] | Iterable[tuple[str, Any]] | None
    keep_alive: bool | None
    cookie: Mapping[str, str | int | float | bool] | str | None
    http_version: Literal["HTTP/1.0", "HTTP/1.1", "HTTP/2"] | None
    use_gzip: bool | None
    allow_redirects: bool | None
    max_redirects: int | None
    on_headers: Callable[[HTTPHeaders], object] | None
    body: bytes | bytearray | memoryview | str | None
    request_timeout: float | None
    connect_timeout: float | None
    auth_username: str | None
    auth_password: str | None
    user_agent: str | None


class FetchOptions:
    """The checked values of the keywords of one fetch, as attributes of their names."""

    method: str
    #: Already encoded: the query, or the form body.
    params: str | None
    keep_alive: bool
    #: Already the value of the field.
    cookie: str | None
    http_version: str
    use_gzip: bool
    allow_redirects: bool
    max_redirects: int
    on_headers: Callable[[HTTPHeaders], Any] | None
    body: Any
    request_timeout: float
    connect_timeout: float
    auth_username: str | None
    auth_password: str | None
    user_agent: str

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__ = values


def token(name: str, value: Any) -> str:
    """Checks an HTTP method.

    :raises ValueError: when it is no token.
    """
    text = _text(name, value)
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{name} must be a token such as 'GET', not {text!r}")
    return text.upper()


def field_text(name: str, value: Any) -> str:
    """Checks text that goes into a header field.

    :raises ValueError: when it has a CR, LF, NUL or other control character, or one
        beyond Latin-1.
    """
    return check_value(name, _text(name, value))


def version(name: str, value: Any) -> str:
    """Checks an HTTP version.

    :raises ValueError: when it is not one of ``HTTP_VERSIONS``.
    """
    text = _text(name, value)
    if text not in HTTP_VERSIONS:
        raise ValueError(f"{name} must be one of {', '.join(HTTP_VERSIONS)}, not {text!r}")
    return text


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, "a str", value)
    return plain(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, "a bool", value)
    return value


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type(name, "a number of seconds", value)
    if not value >= 0:
        raise ValueError(f"{name} must not be negative or NaN; 0 means no limit")
    # What is more than a float can be is no limit, as infinity is.
    return float(value) if value <= sys.float_info.max else 0.0


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, "an int", value)
    if value < 0:
        raise ValueError(f"{name} must not be negative")
    return value


def _function(name: str, value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise _wrong_type(name, "callable", value)
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} is called while the request is made; it cannot be a coroutine")
    return value  # type: ignore[no-any-return]


def _credential(name: str, value: Any) -> str:
    # Sent as UTF-8 in base64, so only what would break the line of a careless reader
    # of it is refused.
    text = _text(name, value)
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError(f"{name} has a CR, LF or NUL")
    _utf8(name, text)
    return text


def _username(name: str, value: Any) -> str:
    text = _credential(name, value)
    if ":" in text:
        raise ValueError(f"{name} has a colon, which Basic authentication cannot carry")
    return text


def _cookie(name: str, value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = "; ".join(
            f"{_cookie_part(name, key, '=;')}={_cookie_part(name, val, ';')}"
            for key, val in value.items()
        )
    elif not isinstance(value, str):
        raise _wrong_type(name, "a mapping or a str", value)
    return field_text(name, value) or None


def _cookie_part(name: str, value: Any, delimiters: str) -> str:
    # An item of a mapping is one cookie, whatever its value is made from.
    text = _as_text(name, value)
    for delimiter in delimiters:
        if delimiter in text:
            raise ValueError(f"{name}: a mapping cannot have {delimiter!r} in this place")
    return text


def _params(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        pairs: Iterable[Any] = value.items()
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray)):
        pairs = value
    else:
        raise _wrong_type(name, "a mapping or pairs", value)
    encoded = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            kind = type(pair).__name__
            raise TypeError(f"{name} must be a mapping or pairs, not of {kind} items")
        key = _percent_encoded(name, pair[0])
        values = pair[1] if isinstance(pair[1], (list, tuple)) else (pair[1],)
        encoded += [f"{key}={_percent_encoded(name, item)}" for item in values]
    return "&".join(encoded)


def _percent_encoded(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        return quote(bytes(memoryview(value)), safe="")
    return quote(_utf8(name, _as_text(name, value)), safe="")


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        bad = text[error.start]
        raise ValueError(f"{name} has {bad!r}, which UTF-8 cannot carry") from None


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        try:
            return plain(value)
        except ValueError:
            # Python makes no text of several thousand digits.
            raise ValueError(f"{name} has a number of too many digits") from None
    raise TypeError(f"{name} can hold text and numbers, not {type(value).__name__}")


def _anything(name: str, value: Any) -> Any:
    return value


class Keyword(NamedTuple):
    """A keyword of ``fetch``: its default, and what makes its value or raises."""

    default: Any
    check: Callable[[str, Any], Any]


KEYWORDS: dict[str, Keyword] = {
    "method": Keyword("GET", token),
    "params": Keyword(None, _params),
    "keep_alive": Keyword(True, _flag),
    "cookie": Keyword(None, _cookie),
    "http_version": Keyword("HTTP/1.1", version),
    "use_gzip": Keyword(True, _flag),
    "allow_redirects": Keyword(True, _flag),
    "max_redirects": Keyword(4, _count),
    "on_headers": Keyword(None, _function),
    "body": Keyword(None, _anything),
    "request_timeout": Keyword(60.0, _seconds),
    "connect_timeout": Keyword(20.0, _seconds),
    "auth_username": Keyword(None, _username),
    "auth_password": Keyword(None, _credential),
    "user_agent": Keyword(f"Turbo Client v{__version__}", field_text),
}
_BUILT_IN = {name: keyword.default for name, keyword in KEYWORDS.items()}

_defaults = FetchOptions(_BUILT_IN)


def set_defaults(values: Mapping[str, Any]) -> None:
    """Makes ``values`` the defaults of every fetch, over the built-in ones.

    :raises TypeError, ValueError: as `resolve`.
    """
    global _defaults
    _defaults = FetchOptions({**_BUILT_IN, **_checked("configure()", values)})


def resolve(table: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> FetchOptions:
    """Returns the options of one fetch: keywords over the table over the defaults.

    ``None`` as a value says that the keyword is not given, as ``nil`` does in Lua.

    :raises TypeError: for an unknown keyword or a value of the wrong type.
    :raises ValueError: for a value of the right type that cannot be.
    """
    if table is None:
        given = keywords
    elif isinstance(table, Mapping):
        given = dict(table)
        for name, value in keywords.items():
            # None takes away nothing that the table gives; its name is checked all the same.
            if value is not None or name not in given:
                given[name] = value
    else:
        raise TypeError(f"kwargs must be a mapping, not {type(table).__name__}")
    if not given:
        return _defaults
    return FetchOptions({**_defaults.__dict__, **_checked("fetch()", given)})


def _checked(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        keyword = KEYWORDS.get(name) if isinstance(name, str) else None
        if keyword is None:
            raise unknown_name(where, name, KEYWORDS)
        if value is not None:
            values[name] = keyword.check(name, value)
    return values


def basic_credentials(username: str, password: str) -> str:
    """Returns the value of an Authorization field."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def unknown_name(where: str, name: object, known: Iterable[str]) -> TypeError:
    """Returns the error for a name that nobody knows, with the nearest one that is known."""
    if not isinstance(name, str):
        return TypeError(f"{where} has no name that is {type(name).__name__}, only str")
    known = sorted(known)
    # The nearest of a few short names may well be another one: they are all shown.
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if len(known) > 5 else []
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
    return TypeError(f"{where} has no {name!r}{hint}")


def _wrong_type(name: str, expected: str, value: Any) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}")
