"""TLS: trusted and untrusted certificates, and failures of the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import trustme

from tests.support import Connection, Fetch, MakeClient, MakePeer, response
from tests.support.certificates import Certificates
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPResponse, errors
from turbo_tornado.request.tls import TLS, system_trust

MakeServer = Callable[..., Awaitable[Server]]

TIMEOUTS: dict[str, Any] = {"request_timeout": 30, "connect_timeout": 30}
PROMPT = 10_000.0


def assert_ssl_error(res: HTTPResponse, *words: str) -> None:
    assert res.error is not None, f"no error, but {res.code} {res.body!r}"
    assert res.error.code is errors.SSL_ERROR, f"{res.error.code!r}: {res.error.message}"
    for word in words:
        assert word in res.error.message
    assert res.request_time < PROMPT
    others: tuple[Any, ...] = (res.request, res.code, res.reason, res.headers, res.body, res.url)
    assert others == (None,) * len(others)


def assert_fine(res: HTTPResponse) -> None:
    assert res.error is None
    assert res.code == 200


# The certificate of the server


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_trusted_certificate(
    host: str, make_client: MakeClient, tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("valid")
    res = await make_client({"ca_path": certificates.ca}).fetch(server.url("/echo", host))
    assert_fine(res)
    assert res.url == server.url("/echo", host)
    [request] = server.requests
    assert ("Host", f"{host}:{server.port}") in request["headers"]


# The message of OpenSSL for each certificate. Both transports report it.
REFUSED = {
    "wrong-host": "",
    "expired": "certificate has expired",
    "self-signed": "certificate",
}


@pytest.mark.parametrize("certificate", REFUSED)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_rejected_certificate(
    certificate: str,
    host: str,
    make_client: MakeClient,
    tls_server: MakeServer,
    certificates: Certificates,
) -> None:
    server = await tls_server(certificate)
    client = make_client({"ca_path": certificates.ca})
    res = await client.fetch(server.url("/echo", host), **TIMEOUTS)
    assert_ssl_error(res, host, str(server.port), REFUSED[certificate])
    assert server.requests == []
    trusted = await tls_server("valid")
    assert_fine(await client.fetch(trusted.url()))


@pytest.mark.parametrize("verify", [{}, {"verify_ca": True}])
async def test_untrusted_certificate(
    verify: dict[str, Any],
    make_client: MakeClient,
    tls_server: MakeServer,
    certificates: Certificates,
) -> None:
    server = await tls_server("valid")
    for trust in ({}, {"ca_path": certificates.other_ca}):
        res = await make_client({**trust, **verify}).fetch(server.url(), **TIMEOUTS)
        said = "unable to get local issuer certificate"
        assert_ssl_error(res, "localhost", str(server.port), said)
    assert server.requests == []


async def test_untrusted_certificate_without_options(
    make_client: MakeClient, tls_server: MakeServer
) -> None:
    server = await tls_server("valid")
    assert_ssl_error(await make_client().fetch(server.url(), **TIMEOUTS))
    assert server.requests == []


@pytest.mark.parametrize("certificate", ["valid", "wrong-host", "expired", "self-signed"])
async def test_verify_ca_off(
    certificate: str, make_client: MakeClient, tls_server: MakeServer
) -> None:
    server = await tls_server(certificate)
    for host in ("localhost", "127.0.0.1"):
        res = await make_client({"verify_ca": False}).fetch(server.url("/echo", host))
        assert_fine(res)


async def test_self_signed_trusted_by_itself(
    make_client: MakeClient, tls_server: MakeServer, tmp_path: Path
) -> None:
    server = await tls_server("self-signed")
    pem = tmp_path / "server.pem"
    address = ("127.0.0.1", server.port)
    certificate = await asyncio.to_thread(ssl.get_server_certificate, address)
    pem.write_text(certificate)
    assert_fine(await make_client({"ca_path": str(pem)}).fetch(server.url()))


async def test_redirect_from_http_to_https(
    make_client: MakeClient, server: Server, tls_server: MakeServer, certificates: Certificates
) -> None:
    secure = await tls_server("valid")
    url = server.url(f"/redirect-to?url={secure.url()}")
    res = await make_client({"ca_path": certificates.ca}).fetch(url)
    assert_fine(res)
    assert res.url == secure.url()
    assert_ssl_error(await make_client().fetch(url, **TIMEOUTS), "localhost", str(secure.port))


# The certificate of the client


async def test_client_certificate(
    make_client: MakeClient, tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("valid", client_ca=certificates.ca)
    for given in (
        {"cert_file": certificates.client_cert, "priv_file": certificates.client_key},
        {"cert_file": certificates.client_pem},
        {"cert_file": certificates.client_pem, "priv_file": certificates.client_pem},
        {"cert_file": Path(certificates.client_pem)},
    ):
        client = make_client({"ca_path": certificates.ca, **given})
        assert_fine(await client.fetch(server.url()))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_client_certificate_missing(
    version: str, make_client: MakeClient, certificates: Certificates
) -> None:
    # With TLS 1.3, the server rejects the client after the handshake, instead of responding.
    context = certificates.server_context("valid", certificates.ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    server = Server(context)
    try:
        client = make_client({"ca_path": certificates.ca})
        res = await client.fetch(server.url(), **TIMEOUTS)
        assert_ssl_error(res, "localhost", str(server.port))
        assert server.requests == []
    finally:
        await server.close()


async def test_client_certificate_of_another_ca(
    make_client: MakeClient, tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("valid", client_ca=certificates.other_ca)
    client = make_client({"ca_path": certificates.ca, "cert_file": certificates.client_pem})
    assert_ssl_error(await client.fetch(server.url(), **TIMEOUTS), "localhost", str(server.port))
    assert server.requests == []


# The files


@pytest.mark.parametrize("as_path", [str, Path, os.fsencode])
async def test_ca_path_file(
    as_path: Callable[[str], Any],
    make_client: MakeClient,
    tls_server: MakeServer,
    certificates: Certificates,
) -> None:
    server = await tls_server()
    if as_path is os.fsencode:
        with pytest.raises(TypeError, match="ca_path"):
            make_client({"ca_path": as_path(certificates.ca)})
    else:
        client = make_client({"ca_path": as_path(certificates.ca)})
        assert_fine(await client.fetch(server.url()))


@pytest.mark.parametrize("anchor", ["root", "intermediate", "leaf"])
async def test_ca_path_of_any_certificate_of_the_chain(
    anchor: str, make_client: MakeClient, tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("intermediate")
    client = make_client({"ca_path": certificates.anchors[anchor]})
    assert_fine(await client.fetch(server.url()))
    # The host name and the dates of the certificate are still verified.
    for kind in ("wrong-host", "expired"):
        client = make_client({"ca_path": certificates.server_file(kind)})
        assert_ssl_error(await client.fetch((await tls_server(kind)).url(), **TIMEOUTS))


async def test_client_certificate_after_the_request(
    make_client: MakeClient, certificates: Certificates
) -> None:
    """With TLS 1.3, a server can request the certificate after the request."""
    context = certificates.server_context(client_ca=certificates.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.post_handshake_auth = True
    context.verify_mode = ssl.CERT_OPTIONAL

    def serve(listener: socket.socket) -> None:
        conn, _ = listener.accept()
        with conn, context.wrap_socket(conn, server_side=True) as tls:
            tls.settimeout(10)
            tls.recv(65536)
            tls.verify_client_post_handshake()
            tls.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            tls.settimeout(0.05)
            for _ in range(400):
                if tls.getpeercert():
                    break
                with contextlib.suppress(TimeoutError):
                    tls.recv(1)  # Receives the certificate.
            body = repr(tls.getpeercert()).encode()
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            tls.settimeout(10)
            with contextlib.suppress(OSError):
                tls.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.get_running_loop().run_in_executor(None, serve, listener)
        options = {"ca_path": certificates.ca, "cert_file": certificates.client_pem}
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        res = await make_client(options).fetch(url, keep_alive=False, **TIMEOUTS)
        await serving
    assert_fine(res)
    assert b"client@turbo.test" in res.body


@pytest.mark.kept
async def test_many_different_options(
    make_client: MakeClient, tls_server: MakeServer, certificates: Certificates, tmp_path: Path
) -> None:
    server = await tls_server()
    for _ in range(2):
        for number in range(70):
            path = tmp_path / f"{number}.pem"
            path.write_bytes(Path(certificates.ca).read_bytes())
            assert_fine(await make_client({"ca_path": path}).fetch(server.url()))
    assert server.connections == 70


async def test_ca_path_directory(
    make_client: MakeClient, tls_server: MakeServer, certificates: Certificates, tmp_path: Path
) -> None:
    server = await tls_server()
    client = make_client({"ca_path": certificates.ca_directory})
    assert_fine(await client.fetch(server.url()))
    empty = make_client({"ca_path": str(tmp_path)})
    assert_ssl_error(await empty.fetch(server.url(), **TIMEOUTS), "localhost", str(server.port))


def bad_files(certificates: Certificates, folder: Path) -> dict[str, tuple[dict[str, str], str]]:
    """Return invalid ``ssl_options`` by name, each with the file in the message."""
    missing, bad = str(folder / "missing.pem"), str(folder / "bad.pem")
    Path(bad).write_text("-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n")
    text = str(folder / "text.pem")
    Path(text).write_text("just text\n")
    cert, key = certificates.client_cert, certificates.client_key
    other_key = str(folder / "other-key.pem")
    other = trustme.CA().issue_cert("client@turbo.test")
    other.private_key_pem.write_to_path(other_key)
    return {
        "ca_path missing": ({"ca_path": missing}, missing),
        "ca_path bad": ({"ca_path": bad}, bad),
        "ca_path text": ({"ca_path": text}, text),
        "ca_path is a key": ({"ca_path": key}, key),
        "cert_file missing": ({"cert_file": missing, "priv_file": key}, missing),
        "cert_file bad": ({"cert_file": bad, "priv_file": key}, bad),
        "cert_file text": ({"cert_file": text}, text),
        "cert_file without a key": ({"cert_file": cert}, cert),
        "priv_file missing": ({"cert_file": cert, "priv_file": missing}, missing),
        "priv_file bad": ({"cert_file": cert, "priv_file": text}, text),
        "priv_file of another": (
            {"cert_file": cert, "priv_file": other_key},
            other_key,
        ),
    }


@pytest.mark.parametrize(
    "what",
    [
        "ca_path missing",
        "ca_path bad",
        "ca_path text",
        "ca_path is a key",
        "cert_file missing",
        "cert_file bad",
        "cert_file text",
        "cert_file without a key",
        "priv_file missing",
        "priv_file bad",
        "priv_file of another",
    ],
)
async def test_invalid_file(
    what: str,
    make_client: MakeClient,
    tls_server: MakeServer,
    server: Server,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    secure = await tls_server()
    options, file = bad_files(certificates, tmp_path)[what]
    client = make_client({"ca_path": certificates.ca, **options})
    assert_ssl_error(await client.fetch(secure.url(), **TIMEOUTS), file)
    assert secure.connections == 0
    # An http URL does not need the files.
    assert_fine(await client.fetch(server.url()))


async def test_file_that_appears_later(
    make_client: MakeClient, tls_server: MakeServer, certificates: Certificates, tmp_path: Path
) -> None:
    server = await tls_server()
    pem = tmp_path / "ca.pem"
    client = make_client({"ca_path": str(pem)})
    assert_ssl_error(await client.fetch(server.url(), **TIMEOUTS))
    pem.write_bytes(Path(certificates.ca).read_bytes())
    assert_fine(await client.fetch(server.url()))


# The trust store of the system


@pytest.mark.parametrize(
    ("variable", "trusted"), [("SSL_CERT_FILE", "ca"), ("SSL_CERT_DIR", "ca_directory")]
)
async def test_trust_store_of_the_environment(
    variable: str,
    trusted: str,
    make_client: MakeClient,
    tls_server: MakeServer,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await tls_server()
    assert_ssl_error(await make_client().fetch(server.url(), **TIMEOUTS))
    monkeypatch.setenv(variable, getattr(certificates, trusted))
    assert_fine(await make_client().fetch(server.url()))
    monkeypatch.delenv(variable)
    # Every connection is verified, also after a successful one.
    res = await make_client().fetch(server.url(), keep_alive=False, **TIMEOUTS)
    assert_ssl_error(res)


def test_certifi_if_the_system_has_no_trust_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert system_trust() == (certifi.where(), None)
    context = TLS.from_options(None).context()
    assert context.cert_store_stats()["x509_ca"] > 0
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_same_options_share_a_context(certificates: Certificates) -> None:
    options = {"ca_path": certificates.ca, "cert_file": certificates.client_pem}
    context = TLS.from_options(options).context()
    assert TLS.from_options(dict(options)).context() is context
    assert TLS.from_options({**options, "verify_ca": True}).context() is context
    assert TLS.from_options({**options, "verify_ca": False}).context() is not context
    assert TLS.from_options({"ca_path": certificates.ca}).context() is not context
    assert TLS.from_options(None).context() is TLS.from_options({}).context()


# The options themselves


@pytest.mark.parametrize(
    ("options", "nearest"),
    [
        ({"verifyca": False}, "verify_ca"),
        ({"verify_cert": False}, "verify_ca"),
        ({"capath": "/"}, "ca_path"),
        ({"cert_fil": "/"}, "cert_file"),
        ({"privfile": "/"}, "priv_file"),
        ({"CA_PATH": "/", "ca_paht": "/"}, "ca_path"),
    ],
)
def test_unknown_option(options: dict[str, Any], nearest: str) -> None:
    with pytest.raises(TypeError, match=nearest):
        HTTPClient(options)


@pytest.mark.parametrize(
    "options",
    [
        {"verify_ca": "yes"},
        {"verify_ca": 0},
        {"ca_path": 5},
        {"cert_file": True},
        {"priv_file": ["key.pem"], "cert_file": "cert.pem"},
        "ca.pem",
        ["ca_path"],
        5,
    ],
    ids=repr,
)
def test_option_of_the_wrong_type(options: Any) -> None:
    with pytest.raises(TypeError):
        HTTPClient(options)


def test_priv_file_without_cert_file_raises() -> None:
    with pytest.raises(ValueError, match="cert_file"):
        HTTPClient({"priv_file": "key.pem"})


def test_options_are_not_changed() -> None:
    options = {"verify_ca": False, "ca_path": None}
    HTTPClient(options)
    assert options == {"verify_ca": False, "ca_path": None}


# The handshake


@pytest.mark.parametrize(
    "says",
    [response(b"plain"), b"SSH-2.0-OpenSSH_9.2\r\n", bytes(64), b"\xff" * 300],
    ids=["HTTP", "SSH", "zeros", "ones"],
)
async def test_peer_without_tls(
    says: bytes, fetch: Fetch, make_client: MakeClient, raw_peer: MakePeer, server: Server
) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.read(1)
        await conn.send(says)

    peer = await raw_peer(script)
    client = make_client()
    res = await fetch(peer.url().replace("http:", "https:"), client=client, **TIMEOUTS)
    assert_ssl_error(res, "127.0.0.1", str(peer.port))
    assert_fine(await client.fetch(server.url()))


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("says", [b"", b"\x16\x03\x03\x00\x40\x02"], ids=["nothing", "something"])
async def test_peer_that_closes_within_the_handshake(
    says: bytes,
    end: str,
    fetch: Fetch,
    make_client: MakeClient,
    raw_peer: MakePeer,
    server: Server,
) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.read(1)
        await conn.send(says)
        getattr(conn, end)()

    peer = await raw_peer(script)
    client = make_client()
    res = await fetch(peer.url().replace("http:", "https:"), client=client, **TIMEOUTS)
    assert_ssl_error(res, "127.0.0.1", str(peer.port))
    assert peer.connections == 1
    assert_fine(await client.fetch(server.url()))


async def test_peer_without_a_common_version(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.read(1)
        await conn.send(b"\x15\x03\x01\x00\x02\x02\x46")  # fatal alert: protocol_version

    peer = await raw_peer(script)
    client = make_client({"ca_path": certificates.ca})
    res = await client.fetch(peer.url().replace("http:", "https:"), **TIMEOUTS)
    assert_ssl_error(res, "127.0.0.1", str(peer.port), "protocol version")


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"connect_timeout": 0.2}, errors.CONNECT_TIMEOUT),
        ({"request_timeout": 0.2}, errors.REQUEST_TIMEOUT),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_peer_that_does_not_respond(
    limits: dict[str, float],
    code: errors,
    make_client: MakeClient,
    raw_peer: MakePeer,
    server: Server,
) -> None:
    closed = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.wait_closed_by_client()
        closed.set()

    peer = await raw_peer(script)
    client = make_client()
    url = peer.url().replace("http:", "https:")
    res = await client.fetch(url, {**TIMEOUTS, **limits})
    assert res.error is not None
    assert res.error.code is code
    assert "0.2" in res.error.message
    assert 190 <= res.request_time < PROMPT
    await asyncio.wait_for(closed.wait(), 10)
    assert_fine(await client.fetch(server.url()))


async def test_https_server_at_an_http_url(
    fetch: Fetch, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(response(b""), certificates.server_context())
    res = await fetch(peer.url().replace("https:", "http:"), **TIMEOUTS)
    assert res.error is not None
    # asyncio closes or resets the connection without a TLS alert.
    assert res.error.code in (errors.NO_HEADERS, errors.SOCKET_ERROR, errors.PARSE_ERROR_HEADERS)


# The other errors when the bytes are in TLS

HALF_A_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"


@pytest.mark.parametrize(
    ("data", "end", "code"),
    [
        (b"", "close", errors.NO_HEADERS),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "close", errors.SOCKET_ERROR),
        (HALF_A_BODY, "close", errors.SOCKET_ERROR),
        (b"HTTP/1.1 2xx OK\r\n\r\n", "close", errors.PARSE_ERROR_HEADERS),
        (b"", "reset", errors.SOCKET_ERROR),
        (HALF_A_BODY, "reset", errors.SOCKET_ERROR),
    ],
)
async def test_tls_connection_closed_within_the_response(
    data: bytes,
    end: str,
    code: errors,
    transport: str,
    make_client: MakeClient,
    raw_peer: MakePeer,
    certificates: Certificates,
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(data)
        getattr(conn, end)()

    peer = await raw_peer(script, certificates.server_context())
    client = make_client({"ca_path": certificates.ca})
    res = await client.fetch(peer.url(), **TIMEOUTS)
    allowed = {code}
    if (transport, data, end) == ("simple", b"", "reset") and sys.version_info < (3, 12, 3):
        # gh-115627: the ssl module reports an end of the input for a reset.
        allowed.add(errors.NO_HEADERS)
    assert res.error is not None
    assert res.error.code in allowed
    assert len(peer.requests) == 1


# An SSLContext


def client_context(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.ca)


@pytest.mark.kept
async def test_ssl_context(
    tls_server: MakeServer, certificates: Certificates, server: Server
) -> None:
    trusting = await tls_server("valid")
    client = HTTPClient(client_context(certificates), transport="simple")
    for _ in range(2):
        assert_fine(await client.fetch(trusting.url()))
    assert trusting.connections == 1
    # It has no effect on http.
    assert_fine(await client.fetch(server.url()))


async def test_ssl_context_with_a_client_certificate(
    tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("valid", certificates.ca)
    context = client_context(certificates)
    context.load_cert_chain(certificates.client_cert, certificates.client_key)
    assert_fine(await HTTPClient(context, transport="simple").fetch(server.url()))


async def test_ssl_context_without_the_ca(tls_server: MakeServer) -> None:
    server = await tls_server("valid")
    context = ssl.create_default_context()
    res = await HTTPClient(context, transport="simple").fetch(server.url(), **TIMEOUTS)
    assert_ssl_error(res, "verify failed")
    assert server.requests == []


@pytest.mark.kept
async def test_ssl_contexts_do_not_share_connections(
    tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("valid")
    one, other = client_context(certificates), client_context(certificates)
    for context, connections in ((one, 1), (other, 2), (one, 2), (other, 2)):
        assert_fine(await HTTPClient(context, transport="simple").fetch(server.url()))
        assert server.connections == connections
    options: Any = {"ca_path": certificates.ca}
    assert_fine(await HTTPClient(options, transport="simple").fetch(server.url()))
    assert server.connections == 3


async def test_ssl_context_on_curl(
    tls_server: MakeServer, certificates: Certificates, server: Server
) -> None:
    pytest.importorskip("pycurl")
    from turbo_tornado.transports.curl import CurlTransport

    context = client_context(certificates)
    with pytest.raises(ValueError, match="curl transport does not support an SSLContext"):
        HTTPClient(context, transport="curl")
    secure = await tls_server("valid")
    # Also for http, which the server can redirect to https.
    for url in (secure.url(), server.url()):
        for client, options in (
            (HTTPClient(context, transport=CurlTransport), {}),
            (HTTPClient(context, transport="auto"), {"http_version": "HTTP/2"}),
        ):
            for _ in range(2):
                with pytest.raises(ValueError, match=r"SSLContext.*simple transport"):
                    client.fetch(url, options)
    # The client is free.
    assert_fine(await client.fetch(server.url()))
    assert secure.requests == []
    assert len(server.requests) == 1


def test_ssl_context_of_a_server() -> None:
    with pytest.raises(ValueError, match="for servers"):
        HTTPClient(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
