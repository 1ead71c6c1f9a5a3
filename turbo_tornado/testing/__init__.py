"""Testing without a network: `StubTransport` replaces the transports.

Everything above the transport is the real client: keywords, redirects, limits and error codes.
The stub returns the registered answers. Any other request fails the test::

    with StubTransport() as stub:
        stub.get("https://api.example.com/latest", json={"version": 3})
        response = await HTTPClient().fetch("https://api.example.com/latest")
"""

from .answers import Answer, AnswerKeywords
from .request import StubRequest
from .routes import Route
from .stub import StubTransport, UnexpectedRequest

__all__ = [
    "Answer",
    "AnswerKeywords",
    "Route",
    "StubRequest",
    "StubTransport",
    "UnexpectedRequest",
]
