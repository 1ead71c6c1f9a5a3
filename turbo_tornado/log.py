"""The logger ``turbo_tornado``: one line for each fetch, in Turbo's format.

The lines are at the level INFO::

    GET example.com:80/latest => 200 OK 5ms
    GET example.com:80/latest => Error code -3 5ms: Could not connect to example.com:80: ...
    GET example.com:80/latest => cancelled 5ms

After redirects, the line shows the last request. The query, user info, headers and bodies can be
secret and are never logged.
"""

from __future__ import annotations

import logging

from .messages import printable
from .request.request import Request
from .response import HTTPResponse

logger = logging.getLogger("turbo_tornado")


def fetched(request: Request | None, response: HTTPResponse) -> None:
    """Log the result of a fetch; ``request`` is ``None`` if no request was built."""
    # Checked first: to build the line costs time.
    if not logger.isEnabledFor(logging.INFO):
        return
    error = response.error
    where = "" if request is None else f"{_where(request)} => "
    if error is None:
        reason = printable(response.reason)
        logger.info("%s%d %s %.0fms", where, response.code, reason, response.request_time)
    else:
        logger.info(
            "%sError code %d %.0fms: %s", where, error.code, response.request_time, error.message
        )


def cancelled(request: Request, milliseconds: float) -> None:
    """Log a fetch that was cancelled."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s => cancelled %.0fms", _where(request), milliseconds)


def _where(request: Request) -> str:
    # For a proxy, the request target is the whole URL.
    target = request.url.target if request.is_forwarded else request.target
    path = target.partition("?")[0]
    return f"{request.method} {request.url.host_and_port}{path}"
