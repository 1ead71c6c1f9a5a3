"""Tornado's own suites for its simple client, run against `SimpleTransport`.

The suites make their clients by the name ``SimpleAsyncHTTPClient`` of their module, and
by `AsyncHTTPClient`: both are made to mean our class. Nothing else of them is changed.
"""

from __future__ import annotations

import inspect
import logging
import unittest
from collections.abc import Iterator

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.test import httpclient_test, simple_httpclient_test

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


@pytest.fixture(autouse=True)
def our_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Tornado's own runner does the same; its tests assert that nothing else is logged.
    monkeypatch.setattr(logging.getLogger("tornado.access"), "level", logging.CRITICAL)
    monkeypatch.setattr(simple_httpclient_test, "SimpleAsyncHTTPClient", SimpleTransport)
    saved = AsyncHTTPClient._save_configuration()
    AsyncHTTPClient.configure(SimpleTransport)
    yield
    AsyncHTTPClient._restore_configuration(saved)


def _adopt(module: object, *names: str) -> None:
    for name, case in inspect.getmembers(module, inspect.isclass):
        if not issubclass(case, unittest.TestCase) or (names and name not in names):
            continue
        if case.__module__ != module.__name__ or name.endswith("Mixin"):  # type: ignore[attr-defined]
            continue
        left_out = {
            test: pytest.mark.skip(reason=reason)(getattr(case, test))
            for test, reason in (
                (key.partition(".")[2], reason)
                for key, reason in LEFT_OUT.items()
                if key.partition(".")[0] == name
            )
            if hasattr(case, test)
        }
        globals()[name] = type(name, (case,), {"__module__": __name__, **left_out})


_adopt(simple_httpclient_test)
_adopt(httpclient_test, "HTTPResponseTestCase", "SyncHTTPClientTest")
