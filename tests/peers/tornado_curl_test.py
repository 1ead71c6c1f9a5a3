"""Tornado's test suites for its curl client, run against `CurlTransport`.

The suite creates its clients by the name ``CurlAsyncHTTPClient`` of its module, and by
`AsyncHTTPClient`. Both are replaced by the built-in transport.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import tornado
from tornado.httpclient import AsyncHTTPClient

pycurl = pytest.importorskip("pycurl")

from tornado.test import curl_httpclient_test, httpclient_test

from tests.support.suites import adopt
from turbo_tornado.transports.curl import CurlTransport

# The excluded tests, with the reason.
LEFT_OUT: dict[str, str] = {
    "CurlHTTPClientCommonTestCase.test_error_after_cancel": (
        "expects that a cancelled request goes on and its error is logged; ours stops"
    ),
    "CurlHTTPClientTestCase.test_streaming_callback_not_permitted": (
        "expects that an async streaming_callback is refused; ours awaits it"
    ),
}
if tornado.version_info < (6, 5):
    LEFT_OUT["CurlHTTPClientCommonTestCase.test_bind_source_ip"] = (
        "expects a message that libcurl gives no more; stock fails as well"
    )

# Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def our_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Tornado's runner does the same. Its tests assert that there are no other log messages.
    monkeypatch.setattr(logging.getLogger("tornado.access"), "level", logging.CRITICAL)
    monkeypatch.setattr(curl_httpclient_test, "CurlAsyncHTTPClient", CurlTransport)
    saved = AsyncHTTPClient._save_configuration()
    AsyncHTTPClient.configure(CurlTransport)
    yield
    AsyncHTTPClient._restore_configuration(saved)


globals().update(adopt(curl_httpclient_test, LEFT_OUT))
globals().update(adopt(httpclient_test, LEFT_OUT, "HTTPResponseTestCase", "SyncHTTPClientTest"))
