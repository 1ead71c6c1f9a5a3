"""The signed cookies of Turbo.lua, for a Tornado application next to a Turbo application.

Turbo.lua 2.1.4 and newer includes the name in the signature. Older versions do not, and their
cookies are invalid here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from urllib.parse import unquote

from tornado.web import RequestHandler


def sign_turbo_cookie(secret: str, name: str, value: str) -> str:
    """Return what ``set_secure_cookie`` of Turbo stores in the cookie."""
    signed = f"{len(value.encode())}|{time.time() * 1000:.0f}|{value}"
    return f"{_signature(secret, name, signed)}|{signed}"


def verify_turbo_cookie(
    secret: str, name: str, cookie: str, max_age: float | None = None
) -> str | None:
    """Return the value of a cookie that Turbo has signed, or `None` if it is not valid.

    :arg max_age: in seconds, as in Turbo. Default: no limit.
    """
    parts = re.fullmatch(r"([0-9a-f]{40})\|((\d+)\|(\d+)\|(.*))", cookie, re.ASCII | re.DOTALL)
    if parts is None:
        return None
    signature, signed, length, milliseconds, value = parts.groups()
    if not hmac.compare_digest(signature, _signature(secret, name, signed)):
        return None
    if int(length) != len(value.encode()):
        return None
    if max_age is not None and time.time() - int(milliseconds) / 1000 >= max_age:
        return None
    return value


def _signature(secret: str, name: str, signed: str) -> str:
    return hmac.new(secret.encode(), f"{name}|{signed}".encode(), hashlib.sha1).hexdigest()


def _escape(text: str) -> str:
    """Return the text as Turbo writes it into a header, with lower-case digits."""
    return re.sub(rb"[^A-Za-z0-9_]", lambda byte: b"%%%02x" % ord(byte[0]), text.encode()).decode()


class TurboCookies(RequestHandler):
    """A handler that shares its signed cookies with Turbo."""

    def get_turbo_cookie(self, name: str, max_age: float | None = None) -> str | None:
        """Return the value of a signed cookie, like ``get_secure_cookie`` of Turbo."""
        cookie = self.get_cookie(_escape(name))
        if cookie is None:
            return None
        try:
            cookie = unquote(cookie, errors="strict")
        except UnicodeDecodeError:
            return None
        return verify_turbo_cookie(self.settings["turbo_secret"], name, cookie, max_age)

    def set_turbo_cookie(self, name: str, value: str, expire_hours: float = 1) -> None:
        """Set a signed cookie, like ``set_secure_cookie`` of Turbo."""
        cookie = sign_turbo_cookie(self.settings["turbo_secret"], name, value)
        self.set_cookie(_escape(name), _escape(cookie), expires_days=expire_hours / 24)
