"""The result codes of libcurl, as failures. Does not import pycurl."""

from __future__ import annotations

from ..failures import (
    BrokenConnection,
    ConnectFailed,
    HandshakeFailed,
    InvalidURL,
    MalformedResponse,
    NoResponse,
)

#: CURLE_OPERATION_TIMEDOUT. The phase of the transfer determines which timeout has expired.
TIMED_OUT = 28

# https://curl.se/libcurl/c/libcurl-errors.html. Any other code is a broken connection.
_FAILURES: dict[int, type[Exception]] = {
    1: MalformedResponse,  # UNSUPPORTED_PROTOCOL: HTTP/0.9
    3: InvalidURL,  # URL_MALFORMAT
    5: ConnectFailed,  # COULDNT_RESOLVE_PROXY
    6: ConnectFailed,  # COULDNT_RESOLVE_HOST
    7: ConnectFailed,  # COULDNT_CONNECT
    8: MalformedResponse,  # WEIRD_SERVER_REPLY
    35: HandshakeFailed,  # SSL_CONNECT_ERROR
    45: ConnectFailed,  # INTERFACE_FAILED
    52: NoResponse,  # GOT_NOTHING
    53: HandshakeFailed,  # SSL_ENGINE_NOTFOUND
    54: HandshakeFailed,  # SSL_ENGINE_SETFAILED
    58: HandshakeFailed,  # SSL_CERTPROBLEM
    59: HandshakeFailed,  # SSL_CIPHER
    60: HandshakeFailed,  # PEER_FAILED_VERIFICATION
    64: HandshakeFailed,  # USE_SSL_FAILED
    66: HandshakeFailed,  # SSL_ENGINE_INITFAILED
    77: HandshakeFailed,  # SSL_CACERT_BADFILE
    80: HandshakeFailed,  # SSL_SHUTDOWN_FAILED
    82: HandshakeFailed,  # SSL_CRL_BADFILE
    83: HandshakeFailed,  # SSL_ISSUER_ERROR
    90: HandshakeFailed,  # SSL_PINNEDPUBKEYNOTMATCH
    91: HandshakeFailed,  # SSL_INVALIDCERTSTATUS
    98: HandshakeFailed,  # SSL_CLIENTCERT
    100: MalformedResponse,  # TOO_LARGE: the head
}


def failure_of_code(code: int, message: str) -> Exception:
    """Return the failure for a CURLcode other than `TIMED_OUT`."""
    return _FAILURES.get(code, BrokenConnection)(message)
