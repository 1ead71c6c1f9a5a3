"""`URL` and `parse_url`: the only parser of URLs in the package.

A transport receives a URL that is built from the checked parts. Two parsers could disagree about
the host.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

from ..failures import InvalidSchema, InvalidURL

DEFAULT_PORTS = {"http": 80, "https": 443}

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_AUTHORITY = re.compile(r"//([^/?#]*)")
_PORT_AND_PATH = re.compile(r"[0-9]{1,5}(?:[/?#]|$)")
_HOST = re.compile(r"[A-Za-z0-9\-._~]+")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+(?:%25[A-Za-z0-9\-._~]+)?)\]")
# Characters of a path or query that are not percent-encoded: all of printable ASCII, because
# the target is sent as the caller wrote it.
_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))


class URL(NamedTuple):
    """An http or https URL in parts."""

    scheme: str
    #: Lower case, ASCII, an IPv6 address without its brackets. See `parse_any_host` for an
    #: exception.
    host: str
    port: int
    #: The host as in a URL, with the port unless it is the default one.
    netloc: str
    #: Path and query as in ``url``; may be empty.
    path: str
    username: str | None
    password: str | None
    #: Whether the host is an IP address.
    is_ip: bool

    def __repr__(self) -> str:
        # A traceback can show this, so the user info and the query are omitted.
        return f"<URL {self.scheme}://{self.netloc}{self.path.partition('?')[0]}>"

    @property
    def url(self) -> str:
        """The URL without user info and fragment."""
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def target(self) -> str:
        """The request target: path and query, never empty."""
        return self.path if self.path.startswith("/") else f"/{self.path}"

    @property
    def server_name(self) -> str:
        """The host for TLS: without the zone of an IPv6 address and without a final dot."""
        host = self.host.partition("%")[0] if ":" in self.host else self.host
        return host.rstrip(".")

    @property
    def host_and_port(self) -> str:
        """The host and the port to connect to, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port. A redirect to another origin drops the credentials."""
        # The zone of an IPv6 address is case-sensitive.
        host = self.host if ":" in self.host else self.host.lower()
        return (self.scheme, host, self.port)

    def with_query(self, query: str) -> URL:
        """Returns the URL with ``query`` appended to its own query."""
        if not query:
            return self
        separator = "?"
        if "?" in self.path:
            separator = "" if self.path.endswith(("?", "&")) else "&"
        return self._replace(path=f"{self.path}{separator}{query}")

    def join(self, location: str) -> URL:
        """Returns the target of a Location header that this URL has responded with.

        :raises InvalidURL, InvalidSchema: as `parse_url`.
        """
        reference = _from_header(location)
        if _SCHEME.match(reference):
            return parse_url(reference)
        if reference.startswith("//"):
            return parse_url(f"{self.scheme}:{reference}")
        # urljoin would remove characters that parse_url rejects.
        _check_printable(reference)
        return parse_url(urljoin(self.url, reference))


@lru_cache(maxsize=1024)
def parse_url(url: str) -> URL:
    """Parses an absolute URL.

    :raises InvalidURL: for a missing scheme or host, an invalid port, a space or a control
        character. The message never contains the user info.
    :raises InvalidSchema: for a scheme other than http and https.
    """
    return _parse(url, _host_and_port)


@lru_cache(maxsize=1024)
def parse_any_host(url: str) -> URL:
    """Parses an absolute URL whose host and port only a resolver has to understand.

    Tornado's simple client gives them to its resolver as they are. The host can be the
    percent-encoded path of a unix socket, for example, and the port can be 0.

    :raises InvalidURL, InvalidSchema: as `parse_url`.
    """
    return _parse(url, _any_host_and_port)


def _parse(url: str, host_and_port: Callable[[str, int], tuple[str, int]]) -> URL:
    # A subclass of str can return another text for each access.
    url = str.__str__(url)
    if not url:
        raise InvalidURL("the URL is empty")
    _check_printable(url)
    scheme_match = _SCHEME.match(url)
    if scheme_match is None:
        raise InvalidURL("the URL has no scheme; it must begin with http:// or https://")
    scheme = scheme_match[1].lower()
    rest = url[scheme_match.end() :]
    if scheme not in DEFAULT_PORTS:
        if _PORT_AND_PATH.match(rest):
            raise InvalidURL("the URL has no scheme; it must begin with http:// or https://")
        raise InvalidSchema(f"the scheme {scheme!r} is not http or https")
    authority_match = _AUTHORITY.match(rest)
    if authority_match is None or not authority_match[1]:
        raise InvalidURL("the URL has no host")
    if "\\" in authority_match[1]:
        # Browsers treat it as a slash, which changes the host.
        raise InvalidURL("the URL has a backslash before its path")
    user_info, _, host_port = authority_match[1].rpartition("@")
    user, _, password = user_info.partition(":")
    try:
        host, port = host_and_port(host_port, DEFAULT_PORTS[scheme])
    except InvalidURL:
        if "@" in url:
            # The text can be part of a password with an unescaped "/" or "#".
            raise InvalidURL("the URL has an invalid host or port") from None
        raise
    netloc = f"[{host.replace('%', '%25')}]" if ":" in host else host
    if port != DEFAULT_PORTS[scheme]:
        netloc = f"{netloc}:{port}"
    path = rest[authority_match.end() :].partition("#")[0]
    return URL(
        scheme,
        host,
        port,
        netloc,
        path if path.isascii() else quote(path, safe=_AS_IT_IS),
        unquote(user) if user_info else None,
        unquote(password) if user_info else None,
        _is_ip(host),
    )


def _check_printable(url: str) -> None:
    if unprintable := _UNPRINTABLE.search(url):
        raise InvalidURL(f"the URL has a space or control character: {unprintable[0]!r}")


def _is_ip(host: str) -> bool:
    # Not Tornado's is_valid_ip, which asks getaddrinfo. A test can replace that function.
    if ":" in host:
        return True
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


def _host_and_port(host_port: str, default: int) -> tuple[str, int]:
    host, port = _split(host_port)
    number = _port_number(port, 1) if port else default
    return _checked_host(host), number


def _any_host_and_port(host_port: str, default: int) -> tuple[str, int]:
    host, port = _split(host_port)
    if host.startswith("[") or not host.isascii():
        host = _checked_host(host)
    return host, _port_number(port.lstrip("0") or "0", 0) if port else default


def _split(host_port: str) -> tuple[str, str]:
    if host_port.startswith("["):
        host, bracket, after = host_port.partition("]")
        if after and not after.startswith(":"):
            raise InvalidURL(f"invalid host {host_port!r}")
        host, port = host + bracket, after[1:]
    else:
        host, _, port = host_port.partition(":")
    if not host:
        raise InvalidURL("the URL has no host")
    return host, port


def _port_number(port: str, lowest: int) -> int:
    if port.isascii() and port.isdigit() and len(port) <= 5 and lowest <= int(port) < 65536:
        return int(port)
    raise InvalidURL(f"invalid port {port!r}")


def _checked_host(host: str) -> str:
    if ipv6 := _IPV6.fullmatch(host):
        import ipaddress

        address = ipv6[1].replace("%25", "%")
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            raise InvalidURL(f"invalid IPv6 address {host!r}") from None
        # The zone is the name of an interface, which is case-sensitive.
        address, percent, zone = address.partition("%")
        return f"{address.lower()}{percent}{zone}"
    try:
        name = _ascii_name(host)
    except UnicodeError as error:
        raise InvalidURL(f"invalid host {host!r}: {error}") from None
    if not _HOST.fullmatch(name):
        raise InvalidURL(f"invalid host {host!r}")
    return name.lower()


def _ascii_name(host: str) -> str:
    if host.isascii():
        # Checks the length of each label. Names with an underscore are invalid in IDNA 2008.
        return host.encode("idna").decode("ascii")
    # Python's own codec is IDNA 2003, which maps some names to another host.
    import idna

    return idna.encode(host, uts46=True).decode("ascii")


def _from_header(location: str) -> str:
    # A header value is decoded as Latin-1, but servers send UTF-8.
    try:
        return location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return location
