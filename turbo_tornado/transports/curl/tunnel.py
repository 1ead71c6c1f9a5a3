"""Requests through a proxy: the options of libcurl, and the response to CONNECT."""

from __future__ import annotations

import pycurl

from ...failures import HeadTooLarge, MalformedResponse
from ...http1.head import MAX_HEAD_SIZE, MAX_INTERIM_RESPONSES, check_partial_head, parse_head
from ...request.proxy import Proxy
from ...request.request import Request
from .attempt import FAILED, RequestAttempt
from .connections import Connections
from .socket_state import read_state


def configure_proxy(curl: pycurl.Curl, proxy: Proxy, is_tunnel: bool) -> None:
    """Make libcurl send its requests to a proxy, without headers of libcurl."""
    host = f"[{proxy.host.replace('%', '%25')}]" if ":" in proxy.host else proxy.host
    curl.setopt(pycurl.PROXY, f"http://{host}:{proxy.port}")
    curl.setopt(pycurl.NOPROXY, "")
    curl.setopt(pycurl.HTTPPROXYTUNNEL, is_tunnel)
    curl.setopt(pycurl.HEADEROPT, pycurl.HEADER_SEPARATE)
    # An entry without a value prevents libcurl from adding the header.
    entries = [b"Proxy-Connection:", b"User-Agent:"]
    if proxy.credentials is not None:
        entries.append(proxy.header_block[:-2])
    curl.setopt(pycurl.PROXYHEADER, entries)


def create_attempt(request: Request, connections: Connections) -> RequestAttempt:
    """Return the attempt for a request, with or without a tunnel."""
    if request.proxy is None or request.is_forwarded:
        return RequestAttempt(request, connections)
    return TunnelAttempt(request, connections)


class TunnelAttempt(RequestAttempt):
    """An attempt that can begin with CONNECT and its response."""

    def __init__(self, request: Request, connections: Connections) -> None:
        super().__init__(request, connections)
        self._tunnel_head = b""
        self._checked = 0
        self._tunnel_interim_count = 0

    def on_header(self, line: bytes) -> int | None:
        # Before the claim of a new socket, it is the response to CONNECT.
        if not self.new_sockets:
            return super().on_header(line)
        proxy, url = self._request.proxy, self._request.url
        assert proxy is not None
        try:
            self._on_tunnel_line(line)
        except Exception as error:
            self.failure = proxy.failed(url, error)
        return None if self.failure is None else FAILED

    def _on_tunnel_line(self, line: bytes) -> None:
        self._tunnel_head += line
        if len(self._tunnel_head) > MAX_HEAD_SIZE:
            raise HeadTooLarge(f"response head is over {MAX_HEAD_SIZE} bytes")
        if line not in (b"\r\n", b"\n"):
            self._checked = check_partial_head(self._tunnel_head, checked=self._checked)
            return
        head = parse_head(self._tunnel_head)
        self._tunnel_head, self._checked = b"", 0
        proxy, url = self._request.proxy, self._request.url
        assert proxy is not None
        if head.code < 200:
            self._tunnel_interim_count += 1
            if self._tunnel_interim_count > MAX_INTERIM_RESPONSES:
                raise MalformedResponse("Too many 1xx responses")
        elif head.code >= 300:
            self.failure = proxy.refused(url, head.code, head.reason)
        elif self._has_unread():
            self.failure = proxy.failed(url, "it sent data after the response to CONNECT")
        else:
            self.is_past_proxy = True

    def _has_unread(self) -> bool:
        # libcurl does not read beyond the head. One of several sockets may be closed already.
        state = read_state(self.new_sockets[0]) if len(self.new_sockets) == 1 else None
        return state is not None and state.unread > 0
