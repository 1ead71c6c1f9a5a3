"""What the transports cannot do with the pycurl of this environment: docs/guide/transports.md."""

from __future__ import annotations


def can_stop(transport: str) -> bool:
    """Whether a transport can keep a request from being sent again behind its back."""
    if transport != "curl":
        return True
    from turbo_tornado.transports import libcurl

    return libcurl.CAN_STOP


def keeps_connections(transport: str) -> bool:
    """Whether a transport keeps connections, be it for idempotent requests only."""
    if can_stop(transport):
        return True
    from turbo_tornado.transports import libcurl

    return libcurl.LOOKS_ITSELF
