"""`Proxy`: an HTTP proxy, and the choice of the proxy for a URL."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from ..failures import ConnectFailed, InvalidSchema, InvalidURL
from .checks import check_text
from .credentials import basic_credentials
from .url import URL, parse_url

#: The value of the keyword that stands for the proxy variables of the environment.
ENVIRONMENT = "environment"

_PORT = re.compile(r":[0-9]+/?$")
_CONTROL = re.compile(r"[\r\n\0]")
_EXPECTED = "http://[user:password@]host:port"


class Proxy(NamedTuple):
    """An HTTP proxy. Equal proxies have equal credentials."""

    #: Lower case, ASCII, an IPv6 address without its brackets.
    host: str
    port: int
    #: Whether the host is an IP address.
    is_ip: bool
    #: The value of the Proxy-Authorization header.
    credentials: str | None

    def __repr__(self) -> str:
        # A traceback can show this, so the credentials are omitted.
        return f"<Proxy {self.host_and_port}>"

    @property
    def host_and_port(self) -> str:
        """The host and the port to connect to, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def header_block(self) -> bytes:
        """The header lines that are for the proxy alone."""
        if self.credentials is None:
            return b""
        return f"Proxy-Authorization: {self.credentials}\r\n".encode("ascii")

    def connect_head(self, url: URL) -> bytes:
        """Return the request for a tunnel to the host of ``url``."""
        # The zone of an IPv6 address is local to this machine.
        host = url.host.partition("%")[0]
        authority = f"[{host}]:{url.port}" if ":" in host else f"{host}:{url.port}"
        line = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode("ascii")
        return b"%b%b\r\n" % (line, self.header_block)

    def refused(self, url: URL, code: int, reason: str) -> ConnectFailed:
        """Return the failure for a response of the proxy itself."""
        return self.failed(url, f"it responded with {code} {reason}")

    def failed(self, url: URL, problem: object) -> ConnectFailed:
        """Return the failure of a connection through the proxy."""
        return ConnectFailed(
            f"Could not connect to {url.host_and_port} through the proxy {self.host_and_port}: "
            f"{problem}"
        )


def check_proxy(name: str, value: Any) -> Proxy | str:
    """Return the proxy, or `ENVIRONMENT`. An error does not contain the credentials."""
    text = check_text(name, value)
    return text if text == ENVIRONMENT else _parse(f"{name} must be {_EXPECTED}", text)


def choose_proxy(setting: Proxy | str, url: URL) -> Proxy | None:
    """Return the proxy for ``url``, ``None`` for a direct connection.

    :arg setting: what `check_proxy` has returned.
    :raises ValueError: for an invalid value in the environment.
    """
    if isinstance(setting, Proxy):
        return setting
    # The import takes longer than that of the rest of the package.
    import urllib.request

    proxies = urllib.request.getproxies_environment()
    value = proxies.get(url.scheme)
    # urllib takes the last group of an IPv6 address without a port for a port, and compares
    # the whole address as well.
    host = url.host if ":" in url.host else url.host_and_port
    # typeshed does not declare it on each platform.
    bypass: Any = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    if not value or bypass(host, proxies):
        return None
    expected = f"{url.scheme}_proxy in the environment must be {_EXPECTED}"
    return _parse(expected, value if "://" in value else f"http://{value}")


@lru_cache(maxsize=64)
def _parse(expected: str, text: str) -> Proxy:
    try:
        url = parse_url(text)
    except InvalidSchema:
        # The message omits the scheme. In "user:password@host", it would be the user name.
        raise ValueError(f"{expected}; other schemes are unsupported") from None
    except InvalidURL as error:
        raise ValueError(f"{expected}; {error}") from None
    if url.scheme != "http":
        raise ValueError(f"{expected}; https is unsupported")
    if url.path not in ("", "/"):
        raise ValueError(f"{expected}, without a path")
    if not _PORT.search(text):
        raise ValueError(f"{expected}; it has no port")
    credentials = None
    if url.username is not None:
        if _CONTROL.search(url.username + (url.password or "")):
            raise ValueError(f"{expected}; its user info must not contain CR, LF or NUL")
        credentials = basic_credentials(url.username, url.password or "")
    return Proxy(url.host, url.port, url.is_ip, credentials)


def absolute_form(url: URL, target: str) -> str:
    """Return the request target for a proxy (RFC 9112, section 3.2.2)."""
    if target == "*":
        # RFC 9112, section 3.2.4.
        return f"{url.scheme}://{url.host_header}"
    return f"{url.scheme}://{url.host_header}{target}" if target.startswith("/") else target
