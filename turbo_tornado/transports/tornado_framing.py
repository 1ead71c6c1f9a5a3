"""`check_framing`: the framing headers of Tornado's ``HTTPRequest``."""

from __future__ import annotations

from collections.abc import Mapping

from ..messages import quoted


def check_framing(
    headers: Mapping[str, str], body: bytes | None, is_produced: bool = False
) -> None:
    """Check that the headers announce the body that is sent.

    :arg bool is_produced: the body comes from a ``body_producer``. Default: false.
    :raises ValueError: if they do not. The peer would read the next request on the connection
        as the body.
    """
    length = headers.get("Content-Length")
    if "Transfer-Encoding" in headers:
        if body is None and not is_produced:
            raise ValueError("Transfer-Encoding in the headers of a request without a body")
        if length is not None:
            raise ValueError("the headers must not have both Transfer-Encoding and Content-Length")
    if length is None:
        return
    digits = length.strip()
    is_length = digits.isascii() and digits.isdigit()
    if not is_length or not (is_produced or int(digits) == len(body or b"")):
        raise ValueError(f"Content-Length is {quoted(length)}, which is not the length of the body")
