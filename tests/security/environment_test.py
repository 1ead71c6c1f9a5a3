"""The environment selects the trusted certificates, and has no other effect."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import Fetch, MakeClient, MakePeer, RawPeer, StartProgram, response
from tests.support.certificates import Certificates
from turbo_tornado import errors


@pytest.fixture
async def trap(raw_peer: MakePeer) -> RawPeer:
    return await raw_peer(response(b"trap"))


@pytest.fixture
def hostile(
    trap: RawPeer, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set variables of other clients: proxies, credentials, disabled verification."""
    for name in ("no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for scheme in ("http", "https", "all", "socks"):
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            monkeypatch.setenv(name, trap.url(""))
    (tmp_path / ".netrc").write_text("default login user password pass\n")
    (tmp_path / "_netrc").write_text("default login user password pass\n")
    (tmp_path / ".netrc").chmod(0o600)
    config = f'insecure\nproxy = "{trap.url()}"\nuser = "user:pass"\nheader = "X-Config: 1"\n'
    for name in (".curlrc", "_curlrc", "curlrc"):
        (tmp_path / name).write_text(config)
    for name in ("HOME", "CURL_HOME", "XDG_CONFIG_HOME", "USERPROFILE", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"):
        monkeypatch.setenv(name, certificates.ca)
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    monkeypatch.setenv("NODE_TLS_REJECT_UNAUTHORIZED", "0")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_environment_does_not_change_a_request(
    host: str, fetch: Fetch, raw_peer: MakePeer, trap: RawPeer, request: pytest.FixtureRequest
) -> None:
    peer = await raw_peer(response(b"ok"))
    url = f"http://{host}:{peer.port}/p"
    assert (await fetch(url, keep_alive=False)).body == b"ok"
    request.getfixturevalue("hostile")
    assert (await fetch(url, keep_alive=False)).body == b"ok"
    assert peer.requests[0].raw == peer.requests[1].raw
    assert trap.connections == 0


async def test_environment_does_not_disable_verification(
    hostile: None,
    make_client: MakeClient,
    raw_peer: MakePeer,
    trap: RawPeer,
    certificates: Certificates,
) -> None:
    peer = await raw_peer(response(b"ok"), certificates.server_context())
    res = await make_client().fetch(peer.url())
    assert res.error is not None
    assert res.error.code is errors.SSL_ERROR
    res = await make_client({"ca_path": certificates.ca}).fetch(peer.url())
    assert res.body == b"ok"
    (request,) = peer.requests
    assert request.field("Authorization") is None
    assert trap.connections == 0


async def test_environment_at_the_start_of_the_process(
    hostile: None, raw_peer: MakePeer, trap: RawPeer, transport: str, start_program: StartProgram
) -> None:
    # A library reads this once, when it is loaded.
    peer = await raw_peer(response(b"ok"))
    command = (sys.executable, "-m", "turbo_tornado", "--transport", transport, peer.url())
    process = await start_program(*command, stderr=None)
    written, _ = await process.communicate()
    assert (process.returncode, written) == (0, b"ok")
    assert [name for name, _ in peer.requests[0].fields] == [
        "Host",
        "User-Agent",
        "Accept-Encoding",
    ]
    assert trap.connections == 0
