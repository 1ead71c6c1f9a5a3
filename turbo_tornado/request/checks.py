"""Checks of keyword values.

Each check takes the name and the value of a keyword and returns the value to use. It raises
`TypeError` for a wrong type and `ValueError` for an invalid value.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tornado import httputil

from ..headers import TOKEN, check_header_value, check_name, check_value, exact_text
from ..messages import quoted, shortened

HTTP_VERSIONS = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")
_TOKEN = re.compile(TOKEN)
# With two, the servers on the path can disagree about the host (RFC 9112, section 3.2).
_ONE_HOST = "{} can have only one Host"
_COMMON_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


def check_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(name, "a str", value)
    return exact_text(value)


def check_method(name: str, value: Any) -> str:
    if type(value) is str and value in _COMMON_METHODS:
        return value
    method = check_text(name, value)
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"{name} must be a token such as 'GET', not {quoted(method)}")
    method = method.upper()
    if method == "CONNECT":
        # The response does not end: the connection becomes a tunnel.
        raise ValueError(f"{name} CONNECT is unsupported; to use a proxy, pass 'proxy'")
    return method


def check_header_text(name: str, value: Any) -> str:
    return check_value(name, check_text(name, value))


def check_version(name: str, value: Any) -> str:
    version = check_text(name, value)
    if version not in HTTP_VERSIONS:
        raise ValueError(f"{name} must be one of {', '.join(HTTP_VERSIONS)}, not {quoted(version)}")
    return version


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(name, "a bool", value)
    return value


def check_seconds(name: str, value: Any) -> float:
    if type(value) is not float and (
        isinstance(value, bool) or not isinstance(value, (int, float))
    ):
        raise wrong_type(name, "a number of seconds", value)
    if not value >= 0:
        raise ValueError(f"{name} must not be negative or NaN; 0 means no limit")
    # An int can be larger than any float. Like infinity, it means no limit.
    return float(value) if value <= sys.float_info.max else 0.0


def check_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an int", value)
    if value < 0:
        raise ValueError(f"{name} must be at least 0")
    return value


def check_callback(name: str, value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise wrong_type(name, "callable", value)
    return value  # type: ignore[no-any-return]


def check_function(name: str, value: Any) -> Callable[..., Any]:
    check_callback(name, value)
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} is not awaited; pass a function without async")
    return value  # type: ignore[no-any-return]


def check_credential(name: str, value: Any) -> str:
    credential = check_text(name, value)
    # Base64 encodes line breaks, but a server can misinterpret the decoded text.
    if "\r" in credential or "\n" in credential or "\0" in credential:
        raise ValueError(f"{name} must not contain CR, LF or NUL")
    _utf8(name, credential)
    return credential


def check_username(name: str, value: Any) -> str:
    username = check_credential(name, value)
    if ":" in username:
        raise ValueError(f"{name} must not contain a colon, which is invalid in HTTP Basic")
    return username


def check_cookie(name: str, value: Any) -> str | None:
    """Return the value of the Cookie header, ``None`` for no header."""
    if isinstance(value, Mapping):
        value = "; ".join(
            f"{_cookie_part(name, 'name', key, '=;')}={_cookie_part(name, 'value', item, ';')}"
            for key, item in value.items()
        )
    elif not isinstance(value, str):
        raise wrong_type(name, "a mapping or a str", value)
    return check_header_text(name, value) or None


def _cookie_part(name: str, part: str, value: Any, delimiters: str) -> str:
    text = _as_text(name, value)
    for delimiter in delimiters:
        if delimiter in text:
            raise ValueError(f"{name}: the {part} of a cookie must not contain {delimiter!r}")
    return text


def check_headers(name: str, value: Any) -> dict[str, str]:
    """Return the header lines of each name, by the name in lower case.

    Content-Length is omitted, because the client sets it.
    """
    lines: dict[str, str] = {}
    for header, item in pairs_of(name, value):
        try:
            key, written = _header_case(check_name(header))
            line = f"{written}: {check_header_value(written, item)}\r\n"
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if key == "host" and key in lines:
            raise ValueError(_ONE_HOST.format(name))
        lines[key] = lines.get(key, "") + line
    if "transfer-encoding" in lines:
        raise ValueError(f"{name} must not contain Transfer-Encoding, which the client sets")
    lines.pop("content-length", None)
    return lines


@functools.lru_cache(maxsize=256)
def _header_case(name: str) -> tuple[str, str]:
    """Return a header name in lower case, and as `HTTPHeaders` writes it."""
    return name.lower(), "-".join(part.capitalize() for part in name.split("-"))


def check_params(name: str, value: Any) -> str:
    """Return the percent-encoded query or form body."""
    encoded = []
    for key, item in pairs_of(name, value):
        text = _percent_encoded(name, key)
        values = item if isinstance(item, (list, tuple)) else (item,)
        encoded += [f"{text}={_percent_encoded(name, one)}" for one in values]
    return "&".join(encoded)


def check_one_host(name: str, headers: httputil.HTTPHeaders) -> None:
    if len(headers.get_list("Host")) > 1:
        raise ValueError(_ONE_HOST.format(name))


def check_json(name: str, value: Any) -> bytes:
    """Return the JSON text of a value."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except TypeError as error:
        raise TypeError(f"{name}: {shortened(str(error))}") from None
    except ValueError as error:
        # NaN, a cycle, or an int of too many digits.
        raise ValueError(f"{name}: {shortened(str(error))}") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply for the module json") from None
    return _utf8(name, text)


def pairs_of(name: str, value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of a mapping or of an iterable of pairs."""
    if isinstance(value, httputil.HTTPHeaders):
        # `items` joins repeated headers by commas, which is wrong for some headers.
        pairs: Iterable[Any] = value.get_all()
    elif isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray)):
        pairs = value
    else:
        raise wrong_type(name, "a mapping or pairs", value)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            kind = type(pair).__name__
            raise TypeError(f"{name} must be a mapping or pairs, and has an item of type {kind}")
        yield pair[0], pair[1]


def _percent_encoded(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        return quote(bytes(memoryview(value)), safe="")
    return quote(_utf8(name, _as_text(name, value)), safe="")


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        bad = text[error.start]
        raise ValueError(f"{name} must be encodable as UTF-8, and contains {bad!r}") from None


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        try:
            return exact_text(value)
        except ValueError:
            # Python refuses to convert an int of several thousand digits.
            raise ValueError(f"{name} has a number with too many digits; pass a str") from None
    raise TypeError(f"{name} must contain text and numbers, not {type(value).__name__}")


def accept(name: str, value: Any) -> Any:
    """Return the value unchecked."""
    return value


def unknown_name(where: str, name: object, known: Iterable[str]) -> TypeError:
    """Return the error for an unknown name, with the nearest known one."""
    if not isinstance(name, str):
        return TypeError(f"the names in {where} must be str, not {type(name).__name__}")
    known = sorted(known)
    # With a few short names, the nearest one is often a wrong guess.
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if len(known) > 5 else []
    hint = f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(known)}"
    return TypeError(f"{where} has no {quoted(name)}; {hint}")


def wrong_type(name: str, expected: str, value: Any) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}")
