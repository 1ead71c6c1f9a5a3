"""The host and the port of a URL: checks, IDNA and IP addresses."""

from __future__ import annotations

import re
import socket

from ..failures import InvalidURL
from ..messages import quoted, shortened

_HOST = re.compile(r"[A-Za-z0-9\-._~]+")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+)(?:%25([A-Za-z0-9\-._~]+))?\]")
# Without the "25" that RFC 6874 requires, as Python and Tornado accept it.
_IPV6_RAW_ZONE = re.compile(r"\[([0-9A-Fa-f:.]+)%([A-Za-z0-9\-._~]+)\]")
# Some parsers end the host at these characters.
_NOT_IN_ANY_HOST = re.compile(r"[\[\]@\\]")


def host_and_port(text: str, default: int) -> tuple[str, int]:
    """Return the host and the port of an authority without user info.

    :arg int default: the port if ``text`` has none.
    :raises InvalidURL: for an invalid host or port.
    """
    host, port = _split(text)
    number = _port_number(port, 1) if port else default
    return _checked_host(host), number


def any_host_and_port(text: str, default: int) -> tuple[str, int]:
    """Return the host and the port for a custom resolver, which can accept any host.

    :raises InvalidURL: for an invalid port, or a host that parsers can interpret differently.
    """
    host, port = _split(text)
    if host.startswith("["):
        host = _ipv6(_IPV6.fullmatch(host) or _IPV6_RAW_ZONE.fullmatch(host), host)
    elif not host.isascii():
        host = _checked_host(host)
    elif _NOT_IN_ANY_HOST.search(host):
        raise InvalidURL(f"invalid host {quoted(host)}")
    return host, _port_number(port.lstrip("0") or "0", 0) if port else default


def is_ip(host: str) -> bool:
    """Return whether a checked host is an IP address."""
    # Tornado's is_valid_ip calls getaddrinfo, which a tool can replace.
    if ":" in host:
        return True
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, after = text.partition("]")
        if after and not after.startswith(":"):
            raise InvalidURL(f"invalid host {quoted(text)}")
        host, port = host + bracket, after[1:]
    else:
        host, _, port = text.partition(":")
    if not host:
        raise InvalidURL("the URL has no host")
    return host, port


def _port_number(port: str, lowest: int) -> int:
    if port.isascii() and port.isdigit() and len(port) <= 5 and lowest <= int(port) < 65536:
        return int(port)
    raise InvalidURL(f"invalid port {quoted(port)}")


def _checked_host(host: str) -> str:
    if host.startswith("["):
        return _ipv6(_IPV6.fullmatch(host), host)
    try:
        name = _ascii_name(host)
    except UnicodeError as error:
        raise InvalidURL(f"invalid host {quoted(host)}: {shortened(str(error))}") from None
    if not _HOST.fullmatch(name):
        raise InvalidURL(f"invalid host {quoted(host)}")
    return name.lower()


def _ipv6(matched: re.Match[str] | None, host: str) -> str:
    import ipaddress

    if matched is None:
        raise InvalidURL(f"invalid host {quoted(host)}")
    try:
        ipaddress.IPv6Address(matched[1])
    except ValueError:
        raise InvalidURL(f"invalid IPv6 address {quoted(host)}") from None
    # The zone is the name of an interface, which is case-sensitive.
    return matched[1].lower() + (f"%{matched[2]}" if matched[2] else "")


def _ascii_name(host: str) -> str:
    if host.isascii():
        # Checks the length of each label. Names with an underscore are invalid in IDNA 2008.
        return host.encode("idna").decode("ascii")
    # Python's own codec is IDNA 2003, which maps some names to another host.
    import idna

    return idna.encode(host, uts46=True).decode("ascii")
