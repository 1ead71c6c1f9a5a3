"""`StubRequest`: a request that a stub has received."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tornado.escape import json_decode

from ..transports.simple.active_request import ActiveRequest, Phase


class StubRequest:
    """A request that a stub has received. After a redirect, a fetch has several.

    .. attribute:: method

       str: in upper case.

    .. attribute:: url

       str: the URL, without user info and fragment.

    .. attribute:: headers

       `turbo_tornado.HTTPHeaders`: the headers that the client would send.

    .. attribute:: body

       bytes: ``b""`` for a request without a body.

    .. attribute:: request_timeout

       float: remaining seconds of the fetch; 0 for no limit.

    .. attribute:: connect_timeout

       float: seconds; 0 for no limit.

    """

    def __init__(self, exchange: ActiveRequest) -> None:
        self._exchange = exchange
        request = exchange.request
        self.method = request.method
        self.url = request.url.url
        self.headers = request.headers()
        self.body = request.body or b""
        self.request_timeout = request.request_timeout or 0.0
        self.connect_timeout = request.connect_timeout or 0.0

    @property
    def cancelled(self) -> bool:
        """Whether the fetch was cancelled before its answer."""
        return self._exchange.phase is Phase.ABORTED

    @property
    def path(self) -> str:
        """The path of the URL; ``"/"`` if it is empty."""
        return urlsplit(self.url).path or "/"

    @property
    def query(self) -> dict[str, list[str]]:
        """The decoded parameters of the URL: name -> values."""
        return parse_qs(urlsplit(self.url).query, keep_blank_values=True)

    def form(self) -> dict[str, list[str]]:
        """Return the decoded parameters of a form body: name -> values."""
        return parse_qs(self.body.decode(), keep_blank_values=True)

    def json(self) -> Any:
        """Return the decoded JSON body.

        :raises ValueError: for invalid JSON.
        """
        return json_decode(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.url}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"
