"""Verification: it is on by default, and clients do not share the setting."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import Connection, MakeClient, MakePeer, response
from tests.support.certificates import Certificates
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPResponse, configure, errors
from turbo_tornado.request.tls import TLS

MakeServer = Callable[..., Awaitable[Server]]

BAD = ("wrong-host", "expired", "self-signed")


def assert_refused(res: HTTPResponse) -> None:
    assert res.error is not None, f"no error, but {res.code} {res.body!r}"
    assert res.error.code is errors.SSL_ERROR, res.error.message


def assert_fine(res: HTTPResponse) -> None:
    assert (res.error, res.code) == (None, 200)


# Settings that do not disable it


def test_verify_ca_must_be_a_bool() -> None:
    values: list[Any] = ["false", "False", "", "0", 0, 0.0, 1, [], (), {}, b"", Ellipsis]
    for value in values:
        with pytest.raises(TypeError, match="verify_ca"):
            HTTPClient({"verify_ca": value})


def test_other_names_raise() -> None:
    names: list[Any] = ["verify", "verify_CA", "VERIFY_CA", "verifyca", "verify_ca ", "verify-ca"]
    names += ["verify_peer", "verify_host", "validate_cert", "check_hostname", "cert_reqs"]
    names += ["ssl_version", "ciphers", b"verify_ca", None]
    for name in names:
        for value in (False, None, 0):
            with pytest.raises(TypeError, match=r"(ssl_options has no|names in ssl_options)"):
                HTTPClient({name: value})


def test_ssl_options_must_be_a_mapping() -> None:
    others: list[Any] = [False, 0, "", "verify_ca=False", [("verify_ca", False)], ()]
    for options in others:
        with pytest.raises(TypeError, match="ssl_options"):
            HTTPClient(options)


def test_verification_is_not_a_keyword_of_fetch() -> None:
    for name in ("verify_ca", "validate_cert", "ssl_options", "verify", "ca_path"):
        with pytest.raises(TypeError, match=name):
            HTTPClient().fetch("https://localhost/", {name: False})
        with pytest.raises(TypeError, match=name):
            configure(**{name: False})


@pytest.mark.parametrize("certificate", [*BAD, "valid"])
async def test_verification_is_on_by_default(
    certificate: str, make_client: MakeClient, tls_server: MakeServer
) -> None:
    server = await tls_server(certificate)
    settings: list[Any] = [None, {}, {"verify_ca": None}, {"verify_ca": True}]
    for options in settings:
        assert_refused(await make_client(options).fetch(server.url()))
    assert server.requests == []


async def test_options_are_copied_at_construction(
    make_client: MakeClient, tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("expired")
    options: dict[str, Any] = {"ca_path": certificates.ca}
    client = make_client(options)
    options["verify_ca"] = False
    assert_refused(await client.fetch(server.url()))


def test_context_is_strict() -> None:
    for options in (None, {}, {"verify_ca": None}):
        context = TLS.from_options(options).context()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


# The setting of one client does not apply to another


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return ssl.TLSVersion[request.param]


def context_of(
    certificates: Certificates, version: ssl.TLSVersion, *args: str | None
) -> ssl.SSLContext:
    context = certificates.server_context(*args)  # type: ignore[arg-type]
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("kept", [True, False], ids=["connection", "session"])
@pytest.mark.parametrize("certificate", BAD)
async def test_verify_ca_off_does_not_affect_other_clients(
    certificate: str,
    kept: bool,
    version: ssl.TLSVersion,
    make_client: MakeClient,
    certificates: Certificates,
) -> None:
    server = Server(context_of(certificates, version, certificate))
    try:
        for _ in range(2):
            lax = make_client({"verify_ca": False, "ca_path": certificates.ca})
            # Twice, because a session can be resumed when its ticket has arrived.
            for _ in range(2):
                assert_fine(await lax.fetch(server.url(), keep_alive=kept))
            strict = make_client({"ca_path": certificates.ca})
            assert_refused(await strict.fetch(server.url(), keep_alive=kept))
    finally:
        await server.close()
    assert len(server.requests) == 4


@pytest.mark.parametrize("kept", [True, False], ids=["connection", "session"])
async def test_ca_path_does_not_affect_other_clients(
    kept: bool, version: ssl.TLSVersion, make_client: MakeClient, certificates: Certificates
) -> None:
    server = Server(context_of(certificates, version))
    try:
        for _ in range(2):
            for path in (certificates.ca, certificates.ca, certificates.ca_directory):
                client = make_client({"ca_path": path})
                assert_fine(await client.fetch(server.url(), keep_alive=kept))
            for trust in ({"ca_path": certificates.other_ca}, {}):
                assert_refused(await make_client(trust).fetch(server.url(), keep_alive=kept))
    finally:
        await server.close()
    assert len(server.requests) == 6


@pytest.mark.parametrize("kept", [True, False], ids=["connection", "session"])
async def test_client_certificate_does_not_affect_other_clients(
    kept: bool, version: ssl.TLSVersion, make_client: MakeClient, certificates: Certificates
) -> None:
    server = Server(context_of(certificates, version, "valid", certificates.ca))
    try:
        for _ in range(2):
            known = make_client({"ca_path": certificates.ca, "cert_file": certificates.client_pem})
            for _ in range(2):
                assert_fine(await known.fetch(server.url(), keep_alive=kept))
            unknown = make_client({"ca_path": certificates.ca})
            assert_refused(await unknown.fetch(server.url(), keep_alive=kept))
    finally:
        await server.close()
    assert len(server.requests) == 4


async def test_verified_host_name_does_not_affect_other_hosts(
    make_client: MakeClient, tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server("valid")
    client = make_client({"ca_path": certificates.ca})
    for _ in range(2):
        for host in ("localhost", "127.0.0.1"):
            assert_fine(await client.fetch(server.url(host=host)))
        # The same server by another address, if possible, which is not in its certificate.
        res = await client.fetch(server.url(host="[::ffff:127.0.0.1]"))
        assert res.error is not None
        assert res.error.code in (errors.SSL_ERROR, errors.COULD_NOT_CONNECT)
    assert len(server.requests) == 4


@pytest.mark.parametrize("certificate", BAD)
async def test_redirect_to_an_unverified_host(
    certificate: str, make_client: MakeClient, tls_server: MakeServer, certificates: Certificates
) -> None:
    first, second = await tls_server("valid"), await tls_server(certificate)
    client = make_client({"ca_path": certificates.ca})
    res = await client.fetch(first.url(f"/redirect-to?url={second.url()}"), cookie="a=1")
    assert_refused(res)
    assert len(first.requests) == 1
    assert second.requests == []


# Versions of TLS


async def test_versions_below_1_2_are_not_offered(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    hellos: list[bytes] = []

    async def script(conn: Connection) -> None:
        head = await conn.reader.readexactly(5)
        hellos.append(await conn.reader.readexactly(int.from_bytes(head[3:], "big")))
        conn.close()

    peer = await raw_peer(script)
    assert_refused(await make_client().fetch(peer.url().replace("http:", "https:")))
    assert set(offered(hellos[0])) == {0x0303, 0x0304}


def offered(hello: bytes) -> list[int]:
    """Return the versions in a ClientHello (RFC 8446, sections 4.1.2 and 4.2.1)."""
    place = 4 + 2 + 32
    place += 1 + hello[place]
    place += 2 + int.from_bytes(hello[place : place + 2], "big")
    place += 1 + hello[place] + 2
    while place < len(hello):
        kind, length = (int.from_bytes(hello[place + i : place + i + 2], "big") for i in (0, 2))
        if kind == 43:
            versions = hello[place + 5 : place + 4 + length]
            return [int.from_bytes(versions[i : i + 2], "big") for i in range(0, len(versions), 2)]
        place += 4 + length
    return [int.from_bytes(hello[4:6], "big")]


@pytest.mark.parametrize("old", ["TLSv1", "TLSv1_1"])
async def test_peer_with_a_version_below_1_2(
    old: str, make_client: MakeClient, certificates: Certificates
) -> None:
    context = certificates.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion[old]
    server = Server(context)
    try:
        for options in ({"ca_path": certificates.ca}, {"verify_ca": False}):
            assert_refused(await make_client(options).fetch(server.url()))
    finally:
        await server.close()
    assert server.requests == []


# Missing trust store


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
async def test_missing_trust_store_of_the_environment(
    content: bytes | None,
    variable: str,
    make_client: MakeClient,
    tls_server: MakeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await tls_server("valid")
    place = tmp_path / "trust"
    if content is not None:
        file = place if variable == "SSL_CERT_FILE" else place / "ca.pem"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    monkeypatch.setenv(variable, str(place))
    assert_refused(await make_client().fetch(server.url()))
    assert server.requests == []


async def test_empty_directory_trusts_nothing(
    make_client: MakeClient, tls_server: MakeServer, tmp_path: Path
) -> None:
    server = await tls_server("valid")
    assert_refused(await make_client({"ca_path": tmp_path}).fetch(server.url()))
    assert_refused(await make_client({"ca_path": os.devnull}).fetch(server.url()))


async def test_many_at_once(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(response(b"ok"), certificates.server_context("self-signed"))
    lax, strict = {"verify_ca": False}, {"ca_path": certificates.ca}
    clients = [make_client(options) for options in [lax, strict] * 10]
    done = await asyncio.gather(*(client.fetch(peer.url()) for client in clients))
    for number, res in enumerate(done):
        (assert_refused if number % 2 else assert_fine)(res)
    assert len(peer.requests) == 10
