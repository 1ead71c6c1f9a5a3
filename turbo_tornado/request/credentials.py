"""`basic_credentials`: the credentials of HTTP Basic authentication."""

from __future__ import annotations

import base64


def basic_credentials(username: str, password: str) -> str:
    """Return the value of an Authorization or Proxy-Authorization header."""
    pair = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return "Basic " + base64.b64encode(pair).decode("ascii")
