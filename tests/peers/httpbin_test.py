"""The endpoints of httpbin, with which clients are usually tested."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Fetch, MakeClient
from tests.support.httpbin import httpbin
from tests.support.missing import import_peer
from turbo_tornado import HTTPHeaders, HTTPResponse, __version__, errors

import_peer("httpbin")
import_peer("waitress")
brotli = import_peer("brotlicffi")

UNICODE = "Ünï ☃ 日本語 & = + % ;"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with httpbin(tmp_path_factory.mktemp("httpbin")) as url:
        yield url


def said(res: HTTPResponse, code: int = 200) -> Any:
    """Return the JSON in the response of httpbin."""
    assert res.error is None
    assert res.code == code
    assert res.headers["Content-Type"] == "application/json"
    return json.loads(res.body)


def setting(name: str, value: str) -> Any:
    def set_field(headers: HTTPHeaders) -> None:
        headers.set(name, value)

    return set_field


# Requests


async def test_method_get(origin: str, fetch: Fetch) -> None:
    found = said(await fetch(f"{origin}/get?x=y", params={"a": [1, 2], "b": True}))
    assert found["args"] == {"x": "y", "a": ["1", "2"], "b": "true"}
    assert found["origin"] == "127.0.0.1"
    assert found["url"] == f"{origin}/get?x=y&a=1&a=2&b=true"
    assert found["headers"]["Host"] == origin.removeprefix("http://")


async def test_headers(origin: str, fetch: Fetch) -> None:
    found = said(await fetch(f"{origin}/headers", keep_alive=True))
    assert found["headers"] == {
        "Host": origin.removeprefix("http://"),
        "User-Agent": f"Turbo Client v{__version__}",
        "Accept-Encoding": "gzip",
    }
    found = said(await fetch(f"{origin}/headers", on_headers=setting("X-Field", "value")))
    assert found["headers"]["X-Field"] == "value"


async def test_user_agent(origin: str, fetch: Fetch) -> None:
    found = said(await fetch(f"{origin}/user-agent", user_agent="agent/1.0"))
    assert found == {"user-agent": "agent/1.0"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_form(method: str, origin: str, fetch: Fetch) -> None:
    params = {"a": ["1", "2"], "ключ": UNICODE}
    found = said(await fetch(f"{origin}/{method.lower()}?x=y", method=method, params=params))
    assert found["args"] == {"x": "y"}
    assert found["form"] == params
    assert found["headers"]["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_body(method: str, origin: str, fetch: Fetch) -> None:
    url = f"{origin}/{method.lower()}"
    as_json = setting("Content-Type", "application/json")
    body = json.dumps({"text": UNICODE})
    found = said(await fetch(url, method=method, body=body, on_headers=as_json))
    assert found["json"] == {"text": UNICODE}
    assert found["headers"]["Content-Length"] == str(len(body))
    found = said(await fetch(url, method=method, body=UNICODE, params={"a": "b"}))
    assert (found["data"], found["args"]) == (UNICODE, {"a": "b"})
    found = said(await fetch(url, method=method, body=""))
    assert (found["data"], found["headers"]["Content-Length"]) == ("", "0")


async def test_multipart(origin: str, fetch: Fetch) -> None:
    lines = [
        "--cut",
        'Content-Disposition: form-data; name="a"',
        "",
        "b",
        "--cut",
        'Content-Disposition: form-data; name="f"; filename="f.txt"',
        "",
        "content",
        "--cut--",
        "",
    ]
    typed = setting("Content-Type", "multipart/form-data; boundary=cut")
    found = said(
        await fetch(f"{origin}/post", method="POST", body="\r\n".join(lines), on_headers=typed)
    )
    assert (found["form"], found["files"]) == ({"a": "b"}, {"f": "content"})


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
async def test_anything(method: str, origin: str, fetch: Fetch) -> None:
    body = "data" if method in ("POST", "PUT", "PATCH") else None
    found = said(await fetch(f"{origin}/anything/a/b", method=method, body=body))
    assert (found["method"], found["data"]) == (method, body or "")
    assert found["url"] == f"{origin}/anything/a/b"


async def test_unicode(origin: str, fetch: Fetch) -> None:
    found = said(await fetch(f"{origin}/anything/日本?q=ñ", params={"ключ": UNICODE}))
    assert found["args"] == {"q": "ñ", "ключ": UNICODE}
    assert found["url"].startswith(f"{origin}/anything/日本?")


async def test_large_body(origin: str, fetch: Fetch) -> None:
    data = "0123456789abcdef" * 65536
    assert said(await fetch(f"{origin}/post", method="POST", body=data))["data"] == data


async def test_head_and_options(origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/get", method="HEAD")
    assert (res.error, res.code, res.body) == (None, 200, b"")
    assert int(res.headers["Content-Length"]) > 0
    res = await fetch(f"{origin}/get", method="OPTIONS")
    assert (res.error, res.code, res.body) == (None, 200, b"")
    assert set(res.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    res = await fetch(f"{origin}/get", method="DELETE")
    assert (res.error, res.code, res.reason) == (None, 405, "METHOD NOT ALLOWED")


# Cookies and credentials


async def test_cookies(origin: str, fetch: Fetch) -> None:
    found = said(await fetch(f"{origin}/cookies", cookie={"a": "1", "b": "2"}))
    assert found == {"cookies": {"a": "1", "b": "2"}}
    res = await fetch(f"{origin}/cookies/set", params={"a": 1, "b": 2}, allow_redirects=False)
    assert (res.error, res.code, res.headers["Location"]) == (None, 302, "/cookies")
    assert sorted(res.headers.get_list("Set-Cookie")) == ["a=1; Path=/", "b=2; Path=/"]
    # The client does not store cookies. After a redirect, it sends those of the call.
    found = said(await fetch(f"{origin}/cookies/set/a/1", cookie="c=3"))
    assert found == {"cookies": {"c": "3"}}


@pytest.mark.parametrize(
    ("user", "password"), [("user", "passwd"), ("üser", "pässwörd ☃"), ("user", "a:b")]
)
async def test_basic_auth(user: str, password: str, origin: str, fetch: Fetch) -> None:
    url = f"{origin}/basic-auth/{user}/{password}".replace(" ", "%20")
    res = await fetch(url)
    assert (res.error, res.code) == (None, 401)
    assert res.headers["WWW-Authenticate"] == 'Basic realm="Fake Realm"'
    given = {"auth_username": user, "auth_password": password}
    assert said(await fetch(url, given)) == {"authenticated": True, "user": user}
    assert (await fetch(url, given, auth_password="wrong")).code == 401
    hidden = url.replace("/basic-auth/", "/hidden-basic-auth/")
    assert (await fetch(hidden)).code == 404
    assert said(await fetch(hidden, given))["authenticated"]


async def test_other_kinds_of_auth(origin: str, fetch: Fetch) -> None:
    token = setting("Authorization", "Bearer token")
    assert said(await fetch(f"{origin}/bearer", on_headers=token))["token"] == "token"
    # The client does not support digest authentication, so that 401 is the response.
    url = f"{origin}/digest-auth/auth/user/passwd"
    res = await fetch(url, auth_username="user", auth_password="passwd")
    assert (res.error, res.code) == (None, 401)
    assert res.headers["WWW-Authenticate"].startswith("Digest ")


# Encodings


async def test_gzip(origin: str, fetch: Fetch) -> None:
    assert said(await fetch(f"{origin}/gzip"))["gzipped"] is True
    # httpbin compresses regardless of Accept-Encoding.
    res = await fetch(f"{origin}/gzip", use_gzip=False)
    assert (res.error, res.headers["Content-Encoding"]) == (None, "gzip")
    found = json.loads(gzip.decompress(res.body))
    assert "Accept-Encoding" not in found["headers"]


async def test_encodings_that_are_not_offered(origin: str, fetch: Fetch) -> None:
    for name, key, decode in [
        ("deflate", "deflated", zlib.decompress),
        ("brotli", "brotli", brotli.decompress),
    ]:
        res = await fetch(f"{origin}/{name}")
        assert (res.error, res.code) == (None, 200)
        assert res.headers["Content-Encoding"] in (name, "br")
        assert int(res.headers["Content-Length"]) == len(res.body)
        assert json.loads(decode(res.body))[key] is True


async def test_utf8(origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/encoding/utf8")
    assert (res.error, res.headers["Content-Type"]) == (None, "text/html; charset=utf-8")
    assert "∮ E⋅da = Q" in res.body.decode()


CONTENTS = {
    "/image/png": ("image/png", b"\x89PNG\r\n\x1a\n"),
    "/image/jpeg": ("image/jpeg", b"\xff\xd8\xff"),
    "/image/webp": ("image/webp", b"RIFF"),
    "/image/svg": ("image/svg+xml", b"<svg "),
    "/html": ("text/html; charset=utf-8", b"<!DOCTYPE html>"),
    "/xml": ("application/xml", b"<?xml"),
    "/json": ("application/json", b"{"),
    "/robots.txt": ("text/plain", b"User-agent: *"),
    "/forms/post": ("text/html; charset=utf-8", b"<!DOCTYPE html>"),
    "/base64/dHVyYm8=": ("text/html; charset=utf-8", b"turbo"),
    "/ip": ("application/json", b"{"),
    "/uuid": ("application/json", b"{"),
}


@pytest.mark.parametrize("path", CONTENTS)
async def test_content(path: str, origin: str, fetch: Fetch) -> None:
    content_type, beginning = CONTENTS[path]
    res = await fetch(origin + path)
    assert (res.error, res.code, res.headers["Content-Type"]) == (None, 200, content_type)
    assert res.body.startswith(beginning)
    assert len(res.body) == int(res.headers["Content-Length"])


async def test_image_by_accept(origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/image", on_headers=setting("Accept", "image/webp"))
    assert res.headers["Content-Type"] == "image/webp"
    res = await fetch(f"{origin}/image", on_headers=setting("Accept", "audio/ogg"))
    assert (res.error, res.code) == (None, 406)


# Statuses and headers


@pytest.mark.parametrize(
    "code", [200, 201, 202, 204, 304, 400, 401, 403, 404, 406, 410, 418, 429, 500, 502, 503, 504]
)
async def test_status(code: int, origin: str, fetch: Fetch) -> None:
    for method in ("GET", "POST", "DELETE"):
        body = b"" if method == "POST" else None
        res = await fetch(f"{origin}/status/{code}", method=method, body=body)
        assert (res.error, res.code) == (None, code)
        if code in (204, 304):
            assert res.body == b""


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_status_of_redirects(code: int, origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/status/{code}", allow_redirects=False)
    assert (res.error, res.code) == (None, code)
    url = f"{origin}/redirect-to?url=%2Fanything&status_code={code}"
    found = said(await fetch(url, method="PUT", body="data"))
    # A PUT stays a PUT, except for 303.
    kept = code != 303
    assert found["method"] == ("PUT" if kept else "GET")
    assert found["data"] == ("data" if kept else "")
    found = said(await fetch(url, method="POST", body="data"))
    assert found["method"] == ("POST" if code in (307, 308) else "GET")


async def test_response_headers(origin: str, fetch: Fetch) -> None:
    params = [("X-Once", "a"), ("X-Twice", "1"), ("X-Twice", "2"), ("X-Empty", "")]
    res = await fetch(f"{origin}/response-headers", params=params)
    assert said(res)["X-Twice"] == ["1", "2"]
    assert res.headers.get_list("X-Twice") == ["1", "2"]
    assert (res.headers["X-Once"], res.headers["X-Empty"]) == ("a", "")


async def test_conditions(origin: str, fetch: Fetch) -> None:
    def given(name: str, value: str) -> dict[str, Any]:
        return {"on_headers": setting(name, value)}

    res = await fetch(f"{origin}/etag/tag")
    assert (res.error, res.code, res.headers["ETag"]) == (None, 200, "tag")
    res = await fetch(f"{origin}/etag/tag", given("If-None-Match", '"tag"'))
    assert (res.error, res.code, res.body) == (None, 304, b"")
    res = await fetch(f"{origin}/etag/tag", given("If-Match", '"other"'))
    assert (res.error, res.code) == (None, 412)
    assert (await fetch(f"{origin}/cache")).code == 200
    since = given("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")
    res = await fetch(f"{origin}/cache", since)
    assert (res.error, res.code, res.body) == (None, 304, b"")
    res = await fetch(f"{origin}/cache/60")
    assert res.headers["Cache-Control"] == "public, max-age=60"


# Redirects


@pytest.mark.parametrize("kind", ["redirect", "relative-redirect", "absolute-redirect"])
async def test_redirects(kind: str, origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/{kind}/4")
    assert said(res)["url"] == res.url == f"{origin}/get"
    res = await fetch(f"{origin}/{kind}/5")
    assert res.error is not None
    assert res.error.code == errors.REDIRECT_MAX
    assert said(await fetch(f"{origin}/{kind}/5", max_redirects=5))["url"] == f"{origin}/get"
    res = await fetch(f"{origin}/{kind}/1", method="HEAD")
    assert (res.error, res.code, res.body, res.url) == (None, 200, b"", f"{origin}/get")


async def test_redirect_to_another_origin(origin: str, fetch: Fetch) -> None:
    secret: dict[str, Any] = {"auth_username": "u", "auth_password": "p", "cookie": "a=b"}
    other = origin.replace("127.0.0.1", "localhost")
    for target, kept in ((origin, True), (other, False)):
        res = await fetch(f"{origin}/redirect-to", secret, params={"url": f"{target}/headers"})
        found = said(res)["headers"]
        assert found["Host"] == target.removeprefix("http://")
        assert ("Authorization" in found, "Cookie" in found) == (kept, kept)


async def test_redirect_to_an_unknown_host(origin: str, fetch: Fetch, closed_port: int) -> None:
    for location, code in [
        ("ftp://127.0.0.1/", errors.INVALID_SCHEMA),
        ("file:///etc/hostname", errors.INVALID_SCHEMA),
        (f"http://127.0.0.1:{closed_port}/", errors.COULD_NOT_CONNECT),
    ]:
        res = await fetch(f"{origin}/redirect-to", params={"url": location})
        assert res.error is not None
        assert res.error.code == code


async def test_links(origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/links/5")
    assert (res.error, res.code, res.url) == (None, 200, f"{origin}/links/5/0")
    assert res.body.count(b"<a href='/links/5/") == 4


# Slow bodies


async def test_stream(origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/stream/20")
    assert (res.error, res.headers["Transfer-Encoding"]) == (None, "chunked")
    assert [json.loads(line)["id"] for line in res.body.splitlines()] == list(range(20))


async def test_bytes(origin: str, fetch: Fetch) -> None:
    whole = await fetch(f"{origin}/bytes/50000?seed=7")
    assert (whole.error, len(whole.body)) == (None, 50000)
    for size in (1000, 49999, 100000):
        url = f"{origin}/stream-bytes/50000?seed=7&chunk_size={size}"
        res = await fetch(url)
        assert (res.error, res.headers["Transfer-Encoding"]) == (None, "chunked")
        assert res.body == whole.body
    assert (await fetch(f"{origin}/bytes/0")).body == b""
    assert (await fetch(f"{origin}/stream-bytes/0")).body == b""


async def test_bytes_over_the_limit(origin: str, make_client: MakeClient) -> None:
    for path in ("/bytes/50000", "/stream-bytes/50000"):
        res = await make_client(max_buffer_size=50000).fetch(origin + path)
        assert res.error is None
        res = await make_client(max_buffer_size=49999).fetch(origin + path)
        assert res.error is not None
        assert res.error.code == errors.SOCKET_ERROR


async def test_range(origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/range/100", on_headers=setting("Range", "bytes=26-30"))
    assert (res.error, res.code, res.body) == (None, 206, b"abcde")
    assert res.headers["Content-Range"] == "bytes 26-30/100"
    res = await fetch(f"{origin}/range/100", on_headers=setting("Range", "bytes=200-"))
    assert (res.error, res.code, res.body) == (None, 416, b"")
    res = await fetch(f"{origin}/range/100?duration=0.05&chunk_size=7")
    assert (res.code, len(res.body)) == (200, 100)


async def test_drip(origin: str, fetch: Fetch) -> None:
    res = await fetch(f"{origin}/drip?numbytes=5&duration=0.1&code=202")
    assert (res.error, res.code, res.body) == (None, 202, b"*****")
    res = await fetch(f"{origin}/drip?numbytes=5&duration=10", request_timeout=0.3)
    assert res.error is not None
    assert res.error.code == errors.REQUEST_TIMEOUT


async def test_delay(origin: str, fetch: Fetch) -> None:
    assert said(await fetch(f"{origin}/delay/0.1"))["url"] == f"{origin}/delay/0.1"
    res = await fetch(f"{origin}/delay/10", request_timeout=0.2)
    assert res.error is not None
    assert res.error.code == errors.REQUEST_TIMEOUT


async def test_many_at_once(origin: str, make_client: MakeClient) -> None:
    urls = [f"{origin}/anything/{number}" for number in range(40)]
    for url, res in zip(
        urls, await asyncio.gather(*(make_client().fetch(url) for url in urls)), strict=True
    ):
        assert said(res)["url"] == url
