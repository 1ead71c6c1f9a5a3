"""`failure` and `allows_retry`: the meaning of a result code of libcurl."""

from __future__ import annotations

import copyreg
import re
from typing import TYPE_CHECKING, Any

import pycurl
from tornado.curl_httpclient import CurlError

from ...failures import (
    BodyError,
    BrokenConnection,
    HandshakeFailed,
    MalformedResponse,
    NoResponse,
)
from ...http1.head import check_partial_head
from ..libcurl_codes import failure_of_code
from .connections import Attempt, Claim

if TYPE_CHECKING:
    from .attempt import RequestAttempt

#: CURLE_HTTP2_STREAM, which pycurl does not define: the peer has reset the stream of the request.
HTTP2_STREAM = 92

# A connection that the peer closed within a response head.
_CLOSED = (
    pycurl.E_ABORTED_BY_CALLBACK,
    pycurl.E_GOT_NOTHING,
    pycurl.E_PARTIAL_FILE,
    # libcurl was about to repeat a request whose body it had read.
    pycurl.E_SEND_FAIL_REWIND,
)
# libcurl does not repeat a request after some ends of an HTTP/2 connection.
_BROKEN_HTTP2 = (pycurl.E_HTTP2, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR)
# libcurl was about to repeat the request; the second one needs the body from its start.
_REPEATING = (pycurl.E_ABORTED_BY_CALLBACK, pycurl.E_SEND_FAIL_REWIND)
# WEIRD_SERVER_REPLY, TOO_LARGE: a bad header, or headers over libcurl's limit.
_BAD_HEADER = (8, 100)
# libcurl's message has the number of OpenSSL's error. The lowest 12 bits are the reason.
_OPENSSL_ERROR = re.compile(r"\berror:([0-9A-F]{8}):")
_SYSTEM_ERROR, _UNEXPECTED_EOF = 0, 294


def allows_retry(attempt: Attempt, code: int, is_idempotent: bool) -> bool:
    """Return whether a request that failed before its response can be retried.

    Its reused connection was closed before any byte of the response, or had a response
    already, or the peer did not process it.

    :arg code: the CURLcode of the attempt.
    :arg bool is_idempotent: the request may be processed twice.
    """
    if attempt.is_unprocessed:
        return True
    if not is_idempotent:
        return False
    if attempt.may_share and code in _BROKEN_HTTP2:
        return attempt.claim is Claim.REUSED and not attempt.has_response
    if attempt.is_early:
        return True
    has_data = attempt.ending is not None and attempt.ending.has_data and not attempt.is_tls
    return code in _REPEATING and not has_data


def failure(attempt: RequestAttempt, code: int, message: str) -> Exception:
    """Return the failure for a CURLcode other than ``E_OPERATION_TIMEDOUT``.

    :arg attempt: the attempt that has failed.
    """
    if attempt.head is None:
        if code in _CLOSED:
            return truncated_head(attempt)
    elif code in _BAD_HEADER:
        # In the trailers of a chunked body.
        return BodyError(message)
    if code == pycurl.E_BAD_CONTENT_ENCODING:
        # An unsupported Transfer-Encoding. libcurl does not decode the content.
        return MalformedResponse(message)
    bad_line = _bad_line(attempt)
    if bad_line is not None:
        return bad_line
    if code == pycurl.E_RECV_ERROR and _is_tls_error(message):
        # With TLS 1.3 the handshake ends before the peer verifies the client's certificate.
        return HandshakeFailed(message)
    return failure_of_code(code, message)


def truncated_head(attempt: RequestAttempt) -> Exception:
    """Return the failure for a connection that was closed before the end of the head."""
    bad_line = _bad_line(attempt)
    if bad_line is not None:
        return bad_line
    ending = attempt.ending
    has_data = ending is not None and ending.has_data
    if attempt.lines or attempt.interim_count or (has_data and not attempt.is_tls):
        return BrokenConnection("connection closed within the response head")
    if ending is not None:
        if ending.is_reset:
            return BrokenConnection("connection reset before any byte of a response")
        if attempt.is_tls and not has_data:
            return BrokenConnection("connection closed without a close_notify of TLS")
    return NoResponse("connection closed before any byte of a response")


def _bad_line(attempt: RequestAttempt) -> Exception | None:
    # libcurl accepts lines that are not part of a valid head.
    if attempt.head is None and attempt.lines:
        try:
            check_partial_head(b"".join(attempt.lines))
        except MalformedResponse as error:
            return error
    return None


def _is_tls_error(message: str) -> bool:
    """Return whether OpenSSL rejects what it received, or has received an alert.

    libcurl has no code for that. The end of TCP without a close_notify is a broken
    connection.
    """
    match = _OPENSSL_ERROR.search(message)
    if match is None:
        return False
    return int(match[1], 16) & 0xFFF not in (_SYSTEM_ERROR, _UNEXPECTED_EOF)


def _reduce(error: CurlError) -> tuple[Any, ...]:
    return CurlError, (error.errno, error.message), error.__dict__


# Tornado's exception passes arguments to `Exception` that its constructor does not accept.
# Without this, it cannot be copied or unpickled.
copyreg.pickle(CurlError, _reduce)
