"""`HookedTransport`: a built-in transport whose ``fetch`` a tool has replaced."""

from __future__ import annotations

from typing import Any

from tornado.httpclient import HTTPRequest

from ..failures import ClientClosed
from ..request.request import Request
from .base import Abort, CancellableFetch, OnDone, Response
from .foreign import ForeignTransport
from .hooks import CarriedRequest


class HookedTransport(ForeignTransport):
    """The `Transport` that calls the replaced ``fetch`` of a built-in one."""

    _client: CancellableFetch

    def send(self, request: Request, on_done: OnDone) -> Abort:
        # The response arrives some iterations of the loop after the end of the request. Until
        # then, the transport must not be released, because a redirect can follow.
        drop = self._client.requests.hold()

        def on_outcome(outcome: Response | BaseException) -> None:
            if type(outcome) is RuntimeError and self._client._closed:
                # A tool has called the original `fetch` later, when the client was closed.
                outcome = ClientClosed()
            try:
                on_done(outcome)
            finally:
                drop()

        try:
            abort = super().send(request, on_outcome)
        except BaseException:
            drop()
            raise

        def abort_and_drop() -> None:
            abort()
            drop()

        return abort_and_drop

    def http_request(self, request: Request) -> HTTPRequest:
        return CarriedRequest(request)

    def _fetch(self, request: Request, http_request: HTTPRequest) -> Any:
        if request.is_accepted:
            return self._client.fetch_redirect(http_request)
        return self._client.fetch(http_request, raise_error=False)
