"""Tornado's test suites for its simple client, run against `SimpleTransport`.

The suites create their clients by the name ``SimpleAsyncHTTPClient`` of their module, and
by `AsyncHTTPClient`. Both are replaced by the built-in transport.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import tornado
from tornado.httpclient import AsyncHTTPClient
from tornado.test import httpclient_test, simple_httpclient_test

from tests.support.suites import adopt
from turbo_tornado.transports.simple import SimpleTransport

# The excluded tests, with the reason.
LEFT_OUT: dict[str, str] = {
    "SimpleHTTPClientCommonTestCase.test_error_after_cancel": (
        "expects that a cancelled request goes on and its error is logged; ours stops"
    ),
    "CreateAsyncHTTPClientTestCase.test_max_clients": (
        "asserts the default of ten requests at once, which SimpleTransport does not have"
    ),
}
if tornado.version_info < (6, 6):
    LEFT_OUT["SimpleHTTPSClientTestCase.test_request_timeout"] = (
        "allows 0.1 s for the TLS handshake, which a busy machine exceeds"
    )
if tornado.version_info < (6, 5):
    LEFT_OUT["ChunkedWithContentLengthTest.test_chunked_with_content_length"] = (
        "expects another wording in the log than newer versions do"
    )


@pytest.fixture(autouse=True)
def our_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Its requests have 0.5 s instead of 0.1 s to fail, as in an emulator.
    monkeypatch.setenv("EMULATION", "1")
    # Tornado's runner does the same. Its tests assert that there are no other log messages.
    monkeypatch.setattr(logging.getLogger("tornado.access"), "level", logging.CRITICAL)
    monkeypatch.setattr(simple_httpclient_test, "SimpleAsyncHTTPClient", SimpleTransport)
    saved = AsyncHTTPClient._save_configuration()
    AsyncHTTPClient.configure(SimpleTransport)
    yield
    AsyncHTTPClient._restore_configuration(saved)


globals().update(adopt(simple_httpclient_test, LEFT_OUT))
globals().update(adopt(httpclient_test, LEFT_OUT, "HTTPResponseTestCase", "SyncHTTPClientTest"))
