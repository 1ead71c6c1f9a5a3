"""Turbo.lua's asynchronous HTTP client for Tornado.

from turbo_tornado import HTTPClient

response = await HTTPClient().fetch("http://example.com/latest")
if response.error:
    self.write("Could not get latest")
else:
    self.write(response.body)
"""

from ._version import __version__
from .client import HTTPClient, configure, reset
from .errors import FetchError, errors
from .headers import HTTPHeaders
from .hooks import RequestEvent
from .request.keywords import FetchKeywords
from .request.tls import SSLOptions
from .response import HTTPResponse
from .task import task

__all__ = [
    "FetchError",
    "FetchKeywords",
    "HTTPClient",
    "HTTPHeaders",
    "HTTPResponse",
    "RequestEvent",
    "SSLOptions",
    "__version__",
    "configure",
    "errors",
    "reset",
    "task",
]
