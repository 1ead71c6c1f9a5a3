"""nginx as the peer: TLS, HTTP/2, compression, limits and restarts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.util
import io
import json
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPError, HTTPRequest
from tornado.iostream import StreamClosedError

from benchmarks.nginx import find
from tests.support import Fetch, MakeClient
from tests.support.certificates import Certificates
from tests.support.missing import missing
from tests.support.nginx import Nginx
from tests.support.phases import in_phase, require_phase
from turbo_tornado import HTTPHeaders, HTTPResponse, errors
from turbo_tornado.transports.simple import SimpleTransport

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere a port cannot be reserved for nginx"
)

TEXT = b"".join(b"line %d of a text\n" % number for number in range(5000))
LARGE = bytes(range(256)) * 65536
PASSWORD = "pässword"
FIELDS = 150

TLS = "ssl_certificate valid.pem; ssl_certificate_key valid.pem;"
FILES = "root files; etag on;"
REDIRECTS = "".join(
    f"location ~ ^/absolute/{code}(/.*)$ {{ return {code} $1; }}"
    f"location ~ ^/relative/{code}(/.*)$ {{ absolute_redirect off; return {code} $1; }}"
    for code in (301, 302, 303, 307, 308)
)
DAV = """
    client_max_body_size 64m;
    location /dav/ {
        root .;
        dav_methods PUT DELETE MKCOL COPY MOVE;
        create_full_put_path on;
        client_body_temp_path dav/temporary;
    }
"""
SERVERS: dict[str, tuple[str, str]] = {
    "plain": (
        "",
        f"""
        {FILES} {DAV}
        location = /no-content {{ return 204; }}
        location = /teapot {{ return 418 "short and stout"; }}
        location = /many-fields {{
            {"".join(f"add_header X-Field-{number} {number};" for number in range(FIELDS))}
            return 200 "many";
        }}
        location /gzip/ {{ alias files/; gzip on; gzip_min_length 1; gzip_types text/plain; }}
        location /chunked/ {{ alias files/; ssi on; ssi_types text/plain; }}
        location /private/ {{
            alias files/;
            auth_basic "the realm";
            auth_basic_user_file passwords;
        }}
        location /slow/ {{ alias files/; limit_rate 1k; }}
        location /paced/ {{ alias files/; limit_rate 64k; }}
        location = /down {{ proxy_pass http://127.0.0.1:DOWN; }}
        {REDIRECTS}
        """,
    ),
    "small": ("", "client_max_body_size 1k; location / { return 200 'small enough'; }"),
    "hasty": (
        "",
        "client_max_body_size 1k; lingering_close off; location / { return 200 'small enough'; }",
    ),
    "narrow": (
        "",
        """
        large_client_header_buffers 2 1k;
        location / { return 200 'fits'; }
        """,
    ),
    "narrow431": (
        "",
        """
        large_client_header_buffers 2 1k;
        error_page 494 =431 @too_large;
        location @too_large { return 431 'fields too large'; }
        location / { return 200 'fits'; }
        """,
    ),
    "three": ("", "keepalive_requests 3;"),
    "one": ("", "keepalive_timeout 0;"),
    "second": ("", "keepalive_timeout 1s;"),
    "impatient": (
        "",
        """
        client_body_timeout 1s;
        location / { root .; dav_methods PUT; client_body_temp_path dav/temporary; }
        """,
    ),
    "tls1.2": ("ssl", f"{TLS} ssl_protocols TLSv1.2;"),
    "tls1.3": ("ssl", f"{TLS} ssl_protocols TLSv1.3; {DAV}"),
    "http2 dav": ("ssl http2", f"{TLS} {FILES} {DAV}"),
    "tls three": ("ssl", f"{TLS} keepalive_requests 3;"),
    "client": ("ssl", f"{TLS} ssl_client_certificate ca.pem; ssl_verify_client on;"),
    "http2": (
        "ssl http2",
        f"""
        {TLS} {FILES}
        client_max_body_size 1k;
        location /gzip/ {{ alias files/; gzip on; gzip_min_length 1; gzip_types text/plain; }}
        location /slow/ {{ alias files/; limit_rate 1k; }}
        """,
    ),
    "http2 three": ("ssl http2", f"{TLS} keepalive_requests 3;"),
}


def prepare(folder: Path, certificates: Certificates) -> Path:
    for name in ("files", "dav", "dav/temporary"):
        (folder / name).mkdir()
    (folder / "files" / "text.txt").write_bytes(TEXT)
    (folder / "files" / "large.bin").write_bytes(LARGE)
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (folder / "passwords").write_text(f"user:{{SHA}}{digest}\n")
    shutil.copy(certificates.ca, folder / "ca.pem")
    shutil.copy(certificates.server_file("valid"), folder / "valid.pem")
    return folder


@pytest.fixture(scope="module")
def module_nginx(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Nginx]:
    if find() is None:
        missing("nginx")
    folder = prepare(tmp_path_factory.mktemp("nginx"), certificates)
    with socket.socket() as down:
        down.bind(("127.0.0.1", 0))
        port = str(down.getsockname()[1])
        servers = {
            name: (options, content.replace("DOWN", port))
            for name, (options, content) in SERVERS.items()
        }
        nginx = Nginx(folder, servers)
        try:
            nginx.start()
            yield nginx
        finally:
            nginx.close()


@pytest.fixture
def nginx(module_nginx: Nginx) -> Iterator[Nginx]:
    with module_nginx.log_shown():
        yield module_nginx


@pytest.fixture
def own_nginx(tmp_path: Path) -> Iterator[Nginx]:
    """An nginx that the test may stop."""
    if find() is None:
        missing("nginx")
    nginx = Nginx(tmp_path, {"plain": ("", "")})
    try:
        nginx.start()
        with nginx.log_shown():
            yield nginx
    finally:
        nginx.close()


@pytest.fixture
def trusting(make_client: MakeClient, certificates: Certificates) -> MakeClient:
    """Make clients that trust the CA of the tests."""

    def make(**options: Any) -> Any:
        return make_client({"ca_path": certificates.ca, **options})

    return make


def assert_body(res: HTTPResponse, body: bytes, code: int = 200) -> None:
    assert res.error is None
    assert (res.code, res.body) == (code, body)


async def about(fetching: Awaitable[HTTPResponse]) -> dict[str, Any]:
    """Return the response of nginx."""
    res = await fetching
    assert res.error is None
    assert res.code == 200, res.body
    found = json.loads(res.body)
    assert isinstance(found, dict)
    return found


def setting(**fields: str) -> Callable[[HTTPHeaders], None]:
    """Return an ``on_headers`` that sets headers."""

    def set_fields(headers: HTTPHeaders) -> None:
        for name, value in fields.items():
            headers.set(name.replace("_", "-"), value)

    return set_fields


# TLS


@pytest.mark.parametrize(("server", "version"), [("tls1.2", "TLSv1.2"), ("tls1.3", "TLSv1.3")])
async def test_version_of_tls(
    server: str, version: str, nginx: Nginx, trusting: MakeClient
) -> None:
    found = await about(trusting().fetch(nginx.url(server)))
    assert (found["tls"], found["protocol"]) == (version, "HTTP/1.1")


@pytest.mark.parametrize("server", ["tls1.2", "tls1.3"])
@pytest.mark.kept
async def test_tls_connection_is_reused(server: str, nginx: Nginx, trusting: MakeClient) -> None:
    found = [await about(trusting().fetch(nginx.url(server))) for _ in range(3)]
    assert len({each["connection"] for each in found}) == 1


@pytest.mark.parametrize("server", ["tls1.2", "tls1.3"])
async def test_untrusted(
    server: str, nginx: Nginx, make_client: MakeClient, certificates: Certificates
) -> None:
    res = await make_client({"ca_path": certificates.other_ca}).fetch(nginx.url(server))
    assert res.error is not None
    assert res.error.code == errors.SSL_ERROR


@pytest.mark.kept
async def test_client_certificate(
    nginx: Nginx, trusting: MakeClient, certificates: Certificates
) -> None:
    url = nginx.url("client")
    # nginx accepts the handshake and rejects the request.
    res = await trusting().fetch(url)
    assert res.error is None
    assert res.code == 400
    assert b"No required SSL certificate was sent" in res.body
    identity = {"cert_file": certificates.client_cert, "priv_file": certificates.client_key}
    found = [await about(trusting(**identity).fetch(url)) for _ in range(2)]
    assert all(each["subject"] for each in found)
    assert found[0]["connection"] == found[1]["connection"]
    # A client without the certificate does not use the connection of a client with it.
    res = await trusting().fetch(url)
    assert res.code == 400


async def test_http_request_to_an_https_port(nginx: Nginx, fetch: Fetch) -> None:
    res = await fetch(nginx.url("tls1.3").replace("https:", "http:"))
    assert res.error is None
    assert res.code == 400
    assert b"The plain HTTP request was sent to HTTPS port" in res.body


async def test_https_request_to_an_http_port(nginx: Nginx, trusting: MakeClient) -> None:
    res = await trusting().fetch(nginx.url("plain").replace("http:", "https:"))
    assert res.error is not None
    assert res.error.code == errors.SSL_ERROR


# HTTP/2


def has_http2() -> bool:
    if importlib.util.find_spec("pycurl") is None:
        return False
    from turbo_tornado.transports.curl import libcurl

    return bool(libcurl.HAS_HTTP2)


with_http2 = pytest.mark.parametrize(
    "transport",
    [
        pytest.param(
            "curl",
            marks=pytest.mark.skipif(not has_http2(), reason="no libcurl that speaks HTTP/2"),
        )
    ],
)


@pytest.mark.parametrize("transport", ["simple"])
async def test_http2_raises_on_the_simple_transport(nginx: Nginx, trusting: MakeClient) -> None:
    with pytest.raises(ValueError, match="HTTP/2"):
        trusting().fetch(nginx.url("http2"), http_version="HTTP/2")


async def test_http11_to_a_server_with_http2(nginx: Nginx, trusting: MakeClient) -> None:
    res = await trusting().fetch(nginx.url("http2"))
    assert res.headers.get_version() == "HTTP/1.1"
    assert json.loads(res.body)["protocol"] == "HTTP/1.1"


@with_http2
async def test_http2(nginx: Nginx, trusting: MakeClient) -> None:
    res = await trusting().fetch(
        nginx.url("http2", "/about?a=b"), http_version="HTTP/2", cookie={"c": "d"}
    )
    assert (res.error, res.code, res.reason) == (None, 200, "OK")
    assert res.headers.get_version() == "HTTP/2"
    found = json.loads(res.body)
    assert found["protocol"] == "HTTP/2.0"
    assert (found["method"], found["uri"], found["cookie"]) == ("GET", "/about?a=b", "c=d")
    assert found["host"] == f"127.0.0.1:{nginx.port('http2')}"


@with_http2
async def test_http2_falls_back_to_http11(nginx: Nginx, trusting: MakeClient) -> None:
    res = await trusting().fetch(nginx.url("tls1.3"), http_version="HTTP/2")
    assert res.error is None
    assert res.headers.get_version() == "HTTP/1.1"
    assert res.request.get_version() == "HTTP/1.1"
    assert json.loads(res.body)["protocol"] == "HTTP/1.1"


@with_http2
@pytest.mark.kept
async def test_http2_many_at_once_on_one_connection(nginx: Nginx, trusting: MakeClient) -> None:
    await nginx.closed_all()
    options = {"http_version": "HTTP/2"}
    first = await about(trusting().fetch(nginx.url("http2"), options))
    # Would take a minute and a half.
    slow = trusting().fetch(nginx.url("http2", "/slow/text.txt"), options)
    found = await asyncio.gather(
        *(about(trusting().fetch(nginx.url("http2"), options)) for _ in range(50))
    )
    assert {each["connection"] for each in found} == {first["connection"]}
    assert not slow.done()
    assert nginx.connections() == 1
    slow.cancel()
    assert (await about(trusting().fetch(nginx.url("http2"), options)))["pid"] == first["pid"]


@with_http2
async def test_http2_streamed_bodies(nginx: Nginx, trusting: MakeClient) -> None:
    async def callback(chunk: bytes) -> None:
        await asyncio.sleep(0)
        chunks.append(chunk)

    options = {"http_version": "HTTP/2"}
    chunks: list[bytes] = []
    url = nginx.url("http2", "/large.bin")
    res = await trusting().fetch(url, options, streaming_callback=callback)
    assert (res.error, res.headers.get_version()) == (None, "HTTP/2")
    assert b"".join(chunks) == LARGE
    bodies = (io.BytesIO(LARGE), [LARGE[:1000], LARGE[1000:]])
    for number, body in enumerate(bodies):
        url = nginx.url("http2 dav", f"/dav/streamed{number}")
        res = await trusting().fetch(url, options, method="PUT", body=body)
        assert (res.error, res.code) == (None, 201)
        assert_body(await trusting().fetch(url, options), LARGE)


@with_http2
async def test_streamed_body_after_the_fallback_from_http2(
    nginx: Nginx, trusting: MakeClient
) -> None:
    # With HTTP/1.1, libcurl must frame the body.
    url = nginx.url("tls1.3", "/dav/streamed")
    res = await trusting().fetch(url, method="PUT", body=[b"data"], http_version="HTTP/2")
    assert (res.error, res.code) == (None, 201)
    assert res.request.get_version() == "HTTP/1.1"
    assert res.request["Transfer-Encoding"] == "chunked"
    assert (await trusting().fetch(url)).body == b"data"


@with_http2
async def test_http2_bodies(nginx: Nginx, trusting: MakeClient) -> None:
    options = {"http_version": "HTTP/2"}
    assert_body(await trusting().fetch(nginx.url("http2", "/large.bin"), options), LARGE)
    res = await trusting().fetch(nginx.url("http2", "/gzip/text.txt"), options)
    assert_body(res, TEXT)
    res = await trusting().fetch(nginx.url("http2", "/text.txt"), options, method="HEAD")
    assert_body(res, b"")
    assert res.headers["Content-Length"] == str(len(TEXT))
    res = await trusting().fetch(nginx.url("http2"), options, method="POST", body=b"x" * 1000)
    assert json.loads(res.body)["method"] == "POST"
    res = await trusting().fetch(nginx.url("http2"), options, method="POST", body=LARGE)
    assert res.error is None
    assert res.code == 413


@with_http2
async def test_http2_connection_at_its_request_limit(nginx: Nginx, trusting: MakeClient) -> None:
    found = [
        await about(trusting().fetch(nginx.url("http2 three"), http_version="HTTP/2"))
        for _ in range(10)
    ]
    assert {each["protocol"] for each in found} == {"HTTP/2.0"}
    assert len({each["connection"] for each in found}) > 1


# Bodies


async def test_gzip(nginx: Nginx, fetch: Fetch) -> None:
    res = await fetch(nginx.url("plain", "/gzip/text.txt"))
    assert_body(res, TEXT)
    assert "Content-Length" not in res.headers
    assert res.headers["Transfer-Encoding"] == "chunked"


async def test_gzip_without_use_gzip(nginx: Nginx, fetch: Fetch) -> None:
    res = await fetch(nginx.url("plain", "/gzip/text.txt"), use_gzip=False)
    assert_body(res, TEXT)
    assert "Content-Encoding" not in res.headers
    assert res.headers["Content-Length"] == str(len(TEXT))


async def test_gzip_over_the_limit(nginx: Nginx, make_client: MakeClient) -> None:
    url = nginx.url("plain", "/gzip/text.txt")
    assert_body(await make_client(max_buffer_size=len(TEXT)).fetch(url), TEXT)
    res = await make_client(max_buffer_size=len(TEXT) - 1).fetch(url)
    assert res.error is not None
    assert res.error.code == errors.SOCKET_ERROR


@pytest.mark.kept
async def test_chunked(nginx: Nginx, fetch: Fetch) -> None:
    first = await about(fetch(nginx.url("plain")))
    res = await fetch(nginx.url("plain", "/chunked/text.txt"), use_gzip=False)
    assert_body(res, TEXT)
    assert res.headers["Transfer-Encoding"] == "chunked"
    assert (await about(fetch(nginx.url("plain"))))["connection"] == first["connection"]


async def test_large(nginx: Nginx, fetch: Fetch) -> None:
    assert_body(await fetch(nginx.url("plain", "/large.bin")), LARGE)


@pytest.mark.kept
async def test_no_body(nginx: Nginx, fetch: Fetch) -> None:
    first = await about(fetch(nginx.url("plain")))
    res = await fetch(nginx.url("plain", "/text.txt"), method="HEAD")
    assert_body(res, b"")
    assert res.headers["Content-Length"] == str(len(TEXT))
    assert_body(await fetch(nginx.url("plain", "/no-content")), b"", 204)
    fields = setting(If_None_Match=res.headers["ETag"])
    assert_body(await fetch(nginx.url("plain", "/text.txt"), on_headers=fields), b"", 304)
    fields = setting(If_Modified_Since=res.headers["Last-Modified"])
    assert_body(await fetch(nginx.url("plain", "/text.txt"), on_headers=fields), b"", 304)
    # These responses have no body, and the connection is reused.
    assert (await about(fetch(nginx.url("plain"))))["connection"] == first["connection"]


async def test_ranges(nginx: Nginx, fetch: Fetch) -> None:
    url = nginx.url("plain", "/text.txt")
    res = await fetch(url, on_headers=setting(Range="bytes=5-9"))
    assert_body(res, TEXT[5:10], 206)
    assert res.headers["Content-Range"] == f"bytes 5-9/{len(TEXT)}"
    assert_body(await fetch(url, on_headers=setting(Range="bytes=-7")), TEXT[-7:], 206)
    res = await fetch(url, on_headers=setting(Range="bytes=0-3,8-11"))
    assert (res.error, res.code) == (None, 206)
    assert res.headers["Content-Type"].startswith("multipart/byteranges")
    assert TEXT[0:4] in res.body
    assert TEXT[8:12] in res.body
    res = await fetch(url, on_headers=setting(Range=f"bytes={len(TEXT)}-"))
    assert (res.error, res.code) == (None, 416)


async def test_slow_body(nginx: Nginx, fetch: Fetch) -> None:
    # The body arrives in pieces, over about half a second.
    assert_body(await fetch(nginx.url("plain", "/paced/text.txt")), TEXT)
    # Would take a minute and a half.
    res = await fetch(nginx.url("plain", "/slow/text.txt"), request_timeout=0.3)
    assert res.error is not None
    assert res.error.code == errors.REQUEST_TIMEOUT


async def test_many_headers(nginx: Nginx, fetch: Fetch) -> None:
    res = await fetch(nginx.url("plain", "/many-fields"))
    assert_body(res, b"many")
    found = [value for name, value in res.headers.get_all() if name.startswith("X-Field-")]
    assert found == [str(number) for number in range(FIELDS)]


async def test_http10(nginx: Nginx, fetch: Fetch) -> None:
    found = await about(fetch(nginx.url("plain"), http_version="HTTP/1.0"))
    assert found["protocol"] == "HTTP/1.0"
    # HTTP/1.0 has no chunked coding, so that the body ends with the connection.
    res = await fetch(
        nginx.url("plain", "/chunked/text.txt"), http_version="HTTP/1.0", use_gzip=False
    )
    assert_body(res, TEXT)
    assert "Transfer-Encoding" not in res.headers
    assert "Content-Length" not in res.headers


# Statuses


async def test_status_code_is_not_an_error(nginx: Nginx, fetch: Fetch) -> None:
    assert_body(await fetch(nginx.url("plain", "/teapot")), b"short and stout", 418)
    res = await fetch(nginx.url("plain", "/nowhere"))
    assert (res.error, res.code, res.reason) == (None, 404, "Not Found")


async def test_upstream_is_down(nginx: Nginx, fetch: Fetch) -> None:
    res = await fetch(nginx.url("plain", "/down"))
    assert (res.error, res.code, res.reason) == (None, 502, "Bad Gateway")


@pytest.mark.parametrize("server", ["small", "hasty"])
@in_phase
async def test_body_too_large(server: str, nginx: Nginx, fetch: Fetch, transport: str) -> None:
    url = nginx.url(server, "/upload")
    assert_body(await fetch(url, method="POST", body=b"x" * 1024), b"small enough")
    # nginx responds before the body was sent. The second server then closes at once.
    for body in (b"x" * 1025, LARGE):
        res = await fetch(url, method="POST", body=body)
        if transport == "curl" and server == "hasty":
            # If nginx responds and closes between two calls of libcurl, libcurl reports the reset.
            require_phase(res.error is None or res.error.code is not errors.SOCKET_ERROR)
        assert res.error is None, res.error
        assert (res.code, res.reason) == (413, "Request Entity Too Large")
    assert_body(await fetch(url, method="POST", body=b"x"), b"small enough")


async def test_head_too_large(nginx: Nginx, fetch: Fetch) -> None:
    long = "x" * 2000
    assert_body(await fetch(nginx.url("narrow", "/")), b"fits")
    res = await fetch(nginx.url("narrow", f"/{long}"))
    assert (res.error, res.code, res.reason) == (None, 414, "Request-URI Too Large")
    res = await fetch(nginx.url("narrow", "/"), on_headers=setting(X_Long=long))
    assert (res.error, res.code, res.reason) == (None, 400, "Bad Request")
    assert b"Request Header Or Cookie Too Large" in res.body
    res = await fetch(nginx.url("narrow431", "/"), cookie={"long": long})
    assert_body(res, b"fields too large", 431)
    assert_body(await fetch(nginx.url("narrow431", "/"), cookie={"short": "x"}), b"fits")


async def test_basic_auth(nginx: Nginx, fetch: Fetch) -> None:
    url = nginx.url("plain", "/private/text.txt")
    res = await fetch(url)
    assert (res.error, res.code) == (None, 401)
    assert res.headers["WWW-Authenticate"] == 'Basic realm="the realm"'
    assert_body(await fetch(url, auth_username="user", auth_password=PASSWORD), TEXT)
    with_user_info = url.replace("//", "//user:p%C3%A4ssword@")
    res = await fetch(with_user_info)
    assert_body(res, TEXT)
    assert res.url == url
    res = await fetch(url, auth_username="user", auth_password="wrong")
    assert (res.error, res.code) == (None, 401)


# Redirects


@pytest.mark.parametrize("kind", ["absolute", "relative"])
@pytest.mark.parametrize(
    ("code", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]
)
async def test_redirects(kind: str, code: int, method: str, nginx: Nginx, fetch: Fetch) -> None:
    url = nginx.url("plain", f"/{kind}/{code}/about")
    res = await fetch(url, method="POST", body=b"body", allow_redirects=False)
    assert (res.error, res.code) == (None, code)
    assert res.headers["Location"] == ("/about" if kind == "relative" else nginx.url("plain"))
    res = await fetch(url, method="POST", body=b"body")
    assert res.url == nginx.url("plain")
    assert json.loads(res.body)["method"] == method


@pytest.mark.parametrize("code", [307, 308])
async def test_body_is_repeated_after_a_redirect(
    code: int, transport: str, nginx: Nginx, fetch: Fetch
) -> None:
    name = f"{transport}-{code}"
    res = await fetch(nginx.url("plain", f"/relative/{code}/dav/{name}"), method="PUT", body=LARGE)
    assert_body(res, b"", 201)
    assert (nginx.folder / "dav" / name).read_bytes() == LARGE


async def test_too_many_redirects(nginx: Nginx, fetch: Fetch) -> None:
    path = "/relative/302" * 5 + "/about"
    res = await fetch(nginx.url("plain", path))
    assert res.error is not None
    assert res.error.code == errors.REDIRECT_MAX
    found = await about(fetch(nginx.url("plain", path), max_redirects=5))
    assert found["uri"] == "/about"


# WebDAV


async def test_webdav(transport: str, nginx: Nginx, fetch: Fetch) -> None:
    url = nginx.url("plain", f"/dav/{transport}/")
    assert (await fetch(url, method="MKCOL")).code == 201
    assert_body(await fetch(url + "file", method="PUT", body=LARGE), b"", 201)
    assert_body(await fetch(url + "file"), LARGE)
    assert_body(await fetch(url + "file", method="PUT", body=b""), b"", 204)
    assert_body(await fetch(url + "file"), b"")
    moved = setting(Destination=url + "moved")
    assert_body(await fetch(url + "file", method="MOVE", on_headers=moved), b"", 204)
    assert (await fetch(url + "file")).code == 404
    assert_body(await fetch(url + "moved", method="DELETE"), b"", 204)
    assert_body(await fetch(url, method="DELETE"), b"", 204)
    assert not (nginx.folder / "dav" / transport).exists()


# By Tornado's API, with a body_producer.


async def test_chunked_upload(nginx: Nginx) -> None:
    async def produce(write: Callable[[bytes], Awaitable[None]]) -> None:
        for start in range(0, len(LARGE), 1_000_000):
            await write(LARGE[start : start + 1_000_000])

    transport = SimpleTransport(force_instance=True)
    url = nginx.url("plain", "/dav/chunked")
    res = await transport.fetch(HTTPRequest(url, "PUT", body_producer=produce))
    assert res.code in (201, 204)
    assert (nginx.folder / "dav" / "chunked").read_bytes() == LARGE
    transport.close()


async def test_stalled_upload(nginx: Nginx) -> None:
    never = asyncio.Event()

    async def produce(write: Callable[[bytes], Awaitable[None]]) -> None:
        await write(b"a beginning")
        await never.wait()

    transport = SimpleTransport(force_instance=True)
    # nginx closes after its client_body_timeout, without a response.
    request = HTTPRequest(nginx.url("impatient", "/dav/still"), "PUT", body_producer=produce)
    with pytest.raises((StreamClosedError, HTTPError)) as caught:
        await transport.fetch(request)
    assert getattr(caught.value, "code", 599) == 599
    assert "imeout" not in str(caught.value)
    transport.close()


# Reused connections


@pytest.mark.parametrize("server", ["three", "tls three"])
@pytest.mark.kept
async def test_connection_at_its_request_limit(
    server: str, nginx: Nginx, trusting: MakeClient
) -> None:
    found = [await about(trusting().fetch(nginx.url(server))) for _ in range(10)]
    carriers = [each["connection"] for each in found]
    assert [carriers.count(carrier) for carrier in dict.fromkeys(carriers)] == [3, 3, 3, 1]


async def test_connections_at_their_request_limit_under_load(nginx: Nginx, fetch: Fetch) -> None:
    # A request that cannot be retried is not sent on a closing connection.
    async def one_after_the_other() -> None:
        for _ in range(10):
            found = await about(fetch(nginx.url("three"), method="POST", body=b"body"))
            assert found["method"] == "POST"

    await asyncio.gather(*(one_after_the_other() for _ in range(10)))


async def test_connection_without_keep_alive(nginx: Nginx, fetch: Fetch) -> None:
    found = [await about(fetch(nginx.url("one"))) for _ in range(3)]
    assert len({each["connection"] for each in found}) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.kept
async def test_keep_alive_expires_between_requests(
    noticed: bool, method: str, nginx: Nginx, fetch: Fetch
) -> None:
    body = b"body" if method == "POST" else None
    first = await about(fetch(nginx.url("second"), method=method, body=body))
    if noticed:
        await nginx.closed_all()
    else:
        # The loop is blocked until the connection has been closed.
        nginx.wait_closed_all()
    second = await about(fetch(nginx.url("second"), method=method, body=body))
    assert second["connection"] != first["connection"]


async def test_many_at_once(nginx: Nginx, make_client: MakeClient) -> None:
    fetches = [make_client().fetch(nginx.url("plain", "/text.txt")) for _ in range(200)]
    for res in await asyncio.gather(*fetches):
        assert_body(res, TEXT)


# Reload and restart


async def test_reload(own_nginx: Nginx, fetch: Fetch) -> None:
    url = own_nginx.url("plain")
    before = (await about(fetch(url)))["pid"]

    async def until_another_answers() -> int:
        count = 0
        while True:
            count += 1
            if (await about(fetch(url)))["pid"] != before:
                return count

    fetches = [asyncio.ensure_future(until_another_answers()) for _ in range(20)]
    # Every client has an idle connection.
    await asyncio.gather(*(about(fetch(url)) for _ in range(20)))
    own_nginx.reload()
    assert all(await asyncio.gather(*fetches))


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGTERM], ids=["gracefully", "at once"])
async def test_restart(how: signal.Signals, own_nginx: Nginx, fetch: Fetch) -> None:
    url = own_nginx.url("plain")
    before = await asyncio.gather(*(about(fetch(url)) for _ in range(5)))
    own_nginx.stop(how)
    res = await fetch(url)
    assert res.error is not None
    assert res.error.code == errors.COULD_NOT_CONNECT
    own_nginx.start()
    after = [
        await about(fetch(url, method="POST", body=b"body")),
        *await asyncio.gather(*(about(fetch(url)) for _ in range(5))),
    ]
    assert {each["pid"] for each in before}.isdisjoint(each["pid"] for each in after)
