"""The logger ``turbo_tornado``: one line for each fetch, in the form of Turbo's.

The lines are at the level INFO::

    GET example.com:80/latest => 200 OK 5ms
    GET example.com:80/latest => Error code -3 5ms: Could not connect to example.com:80: ...
    GET example.com:80/latest => cancelled 5ms

Of a fetch that was redirected it is the last request. Query, user info, fields and bodies,
which may be secret, are in none of them.
"""

from __future__ import annotations

import logging

from .errors import printable
from .request import Outgoing
from .response import HTTPResponse

logger = logging.getLogger("turbo_tornado")


def fetched(outgoing: Outgoing | None, response: HTTPResponse) -> None:
    """Logs what a fetch resolves with; ``outgoing`` is ``None`` when nothing was to be sent."""
    # Asked here, so that a fetch that is not logged does not pay for the line.
    if not logger.isEnabledFor(logging.INFO):
        return
    error = response.error
    where = "" if outgoing is None else f"{_where(outgoing)} => "
    if error is None:
        reason = printable(response.reason)
        logger.info("%s%d %s %.0fms", where, response.code, reason, response.request_time)
    else:
        logger.info(
            "%sError code %d %.0fms: %s", where, error.code, response.request_time, error.message
        )


def cancelled(outgoing: Outgoing, milliseconds: float) -> None:
    """Logs a fetch that was cancelled."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s => cancelled %.0fms", _where(outgoing), milliseconds)


def _where(outgoing: Outgoing) -> str:
    path = outgoing.target.partition("?")[0]
    return f"{outgoing.method} {outgoing.url.host_and_port}{path}"
