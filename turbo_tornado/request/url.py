"""`URL` and `parse_url`: the only parser of URLs in the package.

A transport receives a URL that is built from the checked parts. Two parsers could disagree about
the host.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from ..failures import InvalidSchema, InvalidURL
from ..messages import quoted
from .host import any_host_and_port, host_and_port, is_ip

DEFAULT_PORTS = {"http": 80, "https": 443}

# A cached URL stays for the life of the process. The limit of its length is the limit of the
# memory of the cache.
_MAX_CACHED_LENGTH = 1024

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_AUTHORITY = re.compile(r"//([^/?#]*)")
_PORT_AND_PATH = re.compile(r"[0-9]{1,5}(?:[/?#]|$)")
# `urlsplit` removes the first at both ends, and the others everywhere.
_STRIPPED = "".join(map(chr, range(0x21)))
_REMOVED = re.compile(r"[\t\n\r]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# RFC 3986, appendix B. A fragment is not sent.
_REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?(//[^/?#]*)?([^?#]*)(\?[^#]*)?")
# Characters of a path or query that are not percent-encoded: all of printable ASCII, because
# the target is sent as the caller wrote it.
_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))


class URL(NamedTuple):
    """An http or https URL in parts."""

    scheme: str
    #: ASCII, an IPv6 address without its brackets. Lower case, except by `parse_any_host`.
    host: str
    port: int
    #: The host as in a URL, with the port unless it is the default one.
    netloc: str
    #: The value of the Host header: ``netloc`` without the zone of an IPv6 address, which is
    #: local to this machine.
    host_header: str
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
        """Return the URL with ``query`` appended to the query of the URL."""
        if not query:
            return self
        separator = "?"
        if "?" in self.path:
            separator = "" if self.path.endswith(("?", "&")) else "&"
        return self._replace(path=f"{self.path}{separator}{query}")

    def join(self, location: str, any_host: bool = False) -> URL:
        """Return the URL that a Location header in a response of this URL refers to.

        :arg bool any_host: accept each host that `parse_any_host` accepts. Default: false.
        :raises InvalidURL, InvalidSchema: as `parse_url`.
        """
        if control := _CONTROL.search(location):
            raise InvalidURL(f"the Location has a control character: {control[0]!r}")
        matched = _REFERENCE.match(_octets(location))
        assert matched is not None
        scheme, authority, path, query = matched.groups("")
        authority = _host_text(authority)
        path, query = (quote(part.encode("latin-1"), safe=_AS_IT_IS) for part in (path, query))
        if scheme or authority:
            text = f"{scheme or self.scheme}:{authority}{_without_dots(path)}{query}"
            return _parse(text, any_host)
        base_path, question_mark, base_query = self.path.partition("?")
        if not path:
            path, query = base_path, query or question_mark + base_query
        elif path.startswith("/"):
            path = _without_dots(path)
        else:
            path = _without_dots(f"{base_path.rpartition('/')[0]}/{path}")
        return self._replace(path=f"{path}{query}", username=None, password=None)


def parse_url(url: str) -> URL:
    """Parse an absolute URL.

    :raises InvalidURL: for a missing scheme or host, an invalid port, a space or a control
        character. The message never contains the user info.
    :raises InvalidSchema: for a scheme other than http and https.
    """
    return _parse(url) if len(url) > _MAX_CACHED_LENGTH else _cached_parse(url)


def parse_any_host(url: str, is_from_peer: bool = False) -> URL:
    """Parse an absolute URL as leniently as Tornado's simple client.

    The resolver receives the host and the port unchanged. The host can be the percent-encoded
    path of a Unix socket, for example, and the port can be 0. Spaces and control characters are
    percent-encoded, because Tornado's client sends an ambiguous request line for them.

    :arg bool is_from_peer: do not cache the result. Default: false.
    :raises InvalidURL, InvalidSchema: as `parse_url`.
    """
    if is_from_peer or len(url) > _MAX_CACHED_LENGTH:
        return _parse_any_host(url)
    return _cached_any_host(url)


def _parse_any_host(url: str) -> URL:
    # As in urllib.parse.urlsplit, which Tornado uses.
    url = _REMOVED.sub("", url).strip(_STRIPPED)
    return _parse(_UNPRINTABLE.sub(lambda match: quote(match[0]), url), True)


def _parse(url: str, any_host: bool = False) -> URL:
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
        if not any_host and _PORT_AND_PATH.match(rest):
            raise InvalidURL("the URL has no scheme; it must begin with http:// or https://")
        raise InvalidSchema(f"the scheme {quoted(scheme)} is not http or https")
    authority_match = _AUTHORITY.match(rest)
    if authority_match is None or not authority_match[1]:
        raise InvalidURL("the URL has no host")
    if "\\" in authority_match[1]:
        # Browsers treat it as a slash, which changes the host.
        raise InvalidURL("the URL has a backslash before its path")
    user_info, _, host_port = authority_match[1].rpartition("@")
    user, _, password = user_info.partition(":")
    try:
        split = any_host_and_port if any_host else host_and_port
        host, port = split(host_port, DEFAULT_PORTS[scheme])
    except InvalidURL:
        if "@" in url:
            # The text can be part of a password with an unescaped "/" or "#".
            raise InvalidURL("the URL has an invalid host or port") from None
        raise
    netloc = f"[{host.replace('%', '%25')}]" if ":" in host else host
    if port != DEFAULT_PORTS[scheme]:
        netloc = f"{netloc}:{port}"
    path = rest[authority_match.end() :].partition("#")[0]
    host_header = re.sub("%25[^]]*", "", netloc) if ":" in host else netloc
    return URL(
        scheme,
        host,
        port,
        netloc,
        host_header,
        path if path.isascii() else quote(path, safe=_AS_IT_IS),
        _username(user, any_host) if user_info else None,
        # Bytes that are not UTF-8 are sent unchanged.
        unquote(password, errors="surrogateescape") if user_info else None,
        is_ip(host),
    )


_cached_parse = lru_cache(maxsize=1024)(_parse)
_cached_any_host = lru_cache(maxsize=1024)(_parse_any_host)


def _username(user: str, any_host: bool) -> str:
    name = unquote(user, errors="surrogateescape")
    if ":" in name and not any_host:
        # RFC 7617, section 2. The server would take the rest for the password.
        raise InvalidURL("the user name in the URL has a colon")
    return name


def _check_printable(url: str) -> None:
    if unprintable := _UNPRINTABLE.search(url):
        raise InvalidURL(f"the URL has a space or control character: {unprintable[0]!r}")


def _octets(location: str) -> str:
    """Return the text whose characters are the bytes of a Location header."""
    try:
        location.encode("latin-1")
    except UnicodeEncodeError:
        # A transport has decoded the header.
        return location.encode("utf-8", "surrogateescape").decode("latin-1")
    return location


def _host_text(authority: str) -> str:
    """Return an authority whose characters are bytes as text."""
    try:
        return authority.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidURL("the host in the Location is not UTF-8") from None


def _without_dots(path: str) -> str:
    """Remove the segments ``.`` and ``..`` (RFC 3986, section 5.2.4)."""
    if "/." not in path:
        return path
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    is_directory = path.endswith(("/.", "/.."))
    return "".join(f"/{segment}" for segment in segments) + "/" * is_directory
