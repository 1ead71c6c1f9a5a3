"""Turbo.lua's asynchronous HTTP client for Tornado.

from turbo_tornado import HTTPClient

response = await HTTPClient().fetch("http://example.com/latest")
if response.error:
    self.write("Could not get latest")
else:
    self.write(response.body)
"""

from ._version import __version__
from .client import HTTPClient, configure
from .errors import errors
from .headers import HTTPHeaders
from .response import HTTPResponse
from .task import task

__all__ = [
    "HTTPClient",
    "HTTPHeaders",
    "HTTPResponse",
    "__version__",
    "configure",
    "errors",
    "task",
]
