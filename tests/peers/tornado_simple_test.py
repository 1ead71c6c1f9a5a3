"""Tornado's own suites for its simple client, run against `SimpleTransport`.

The suites make their clients by the name ``SimpleAsyncHTTPClient`` of their module, and
by `AsyncHTTPClient`: both are made to mean our class. Nothing else of them is changed.
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

# By name, with the reason.
LEFT_OUT: dict[str, str] = {
    "SimpleHTTPClientCommonTestCase.test_error_after_cancel": (
        "expects that a cancelled request goes on and its error is logged; ours stops"
    ),
    "CreateAsyncHTTPClientTestCase.test_max_clients": (
        "asserts the default of ten requests at once, which SimpleTransport does not have"
    ),
}
if tornado.version_info < (6, 5):
    LEFT_OUT["ChunkedWithContentLengthTest.test_chunked_with_content_length"] = (
        "expects another wording in the log than newer versions do"
    )


@pytest.fixture(autouse=True)
def our_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Gives its requests 0.5 s instead of 0.1 s to fail in, as it does in an emulator.
    monkeypatch.setenv("EMULATION", "1")
    # Tornado's own runner does the same; its tests assert that nothing else is logged.
    monkeypatch.setattr(logging.getLogger("tornado.access"), "level", logging.CRITICAL)
    monkeypatch.setattr(simple_httpclient_test, "SimpleAsyncHTTPClient", SimpleTransport)
    saved = AsyncHTTPClient._save_configuration()
    AsyncHTTPClient.configure(SimpleTransport)
    yield
    AsyncHTTPClient._restore_configuration(saved)


globals().update(adopt(simple_httpclient_test, LEFT_OUT))
globals().update(adopt(httpclient_test, LEFT_OUT, "HTTPResponseTestCase", "SyncHTTPClientTest"))
