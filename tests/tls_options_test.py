"""The checks of ``ssl_options`` and the resulting context, without a connection."""

from __future__ import annotations

import gc
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import certifi
import pytest
from cryptography.hazmat.primitives import serialization

from tests.support import MakeClient
from tests.support.certificates import Certificates
from tests.support.server import Server
from turbo_tornado import HTTPClient, errors
from turbo_tornado.request.tls import TLS, system_trust

# Valid options


@pytest.mark.parametrize("options", [None, {}, {"ca_path": None, "verify_ca": None}])
def test_no_options(options: Any) -> None:
    assert TLS.from_options(options) == TLS(None, None, None, True)
    assert TLS.from_options(options).verify_ca is True


def test_all_options() -> None:
    options = {"priv_file": "k", "cert_file": "c", "ca_path": "a", "verify_ca": False}
    for given in (options, MappingProxyType(options)):
        tls = TLS.from_options(given)
        assert (tls.priv_file, tls.cert_file, tls.ca_path) == ("k", "c", "a")
        assert tls.verify_ca is False


@pytest.mark.parametrize("path", [Path("a/b.pem"), PurePosixPath("a/b.pem"), "a/b.pem"])
def test_paths(path: Any) -> None:
    tls = TLS.from_options({"ca_path": path, "cert_file": path, "priv_file": path})
    assert (tls.ca_path, tls.cert_file, tls.priv_file) == ("a/b.pem",) * 3


def test_path_of_bytes() -> None:
    class OfBytes:
        def __fspath__(self) -> bytes:
            return b"a/b.pem"

    assert TLS.from_options({"ca_path": OfBytes()}).ca_path == "a/b.pem"


KNOWN = "; the names are ca_path, cert_file, priv_file, verify_ca$"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("verify", "no 'verify'" + KNOWN),
        ("ca_file", "no 'ca_file'" + KNOWN),
        ("key_file", "no 'key_file'" + KNOWN),
        ("PRIV_FILE", "no 'PRIV_FILE'" + KNOWN),
    ],
)
def test_unknown_name(name: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        HTTPClient({name: True})
    # Even without a value.
    with pytest.raises(TypeError, match=said):
        HTTPClient({name: None})


@pytest.mark.parametrize("name", [1, None])
def test_name_of_another_type(name: Any) -> None:
    with pytest.raises(TypeError, match=f"names in .* must be str, not {type(name).__name__}"):
        HTTPClient({name: True})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("verify_ca", 1, "a bool, not int"),
        ("verify_ca", "false", "a bool, not str"),
        ("ca_path", b"ca.pem", "a path, not bytes"),
        ("ca_path", True, "a path, not bool"),
        ("cert_file", 5, "a path, not int"),
        ("priv_file", ["k"], "a path, not list"),
    ],
)
def test_wrong_type(name: str, value: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=f"{name}.*{expected}"):
        HTTPClient({name: value})


@pytest.mark.parametrize(
    "options", ["ca.pem", 5, True, [("ca_path", "a")], ssl.SSLContext], ids=str
)
def test_options_of_another_type(options: Any) -> None:
    with pytest.raises(TypeError, match="ssl_options must be a mapping"):
        HTTPClient(options)


def test_priv_file_without_cert_file() -> None:
    for options in ({"priv_file": "k"}, {"priv_file": "k", "cert_file": None}):
        with pytest.raises(ValueError, match="cert_file"):
            HTTPClient(options)


def test_missing_files_are_not_checked_at_construction() -> None:
    HTTPClient({"ca_path": "missing", "cert_file": "missing", "priv_file": "missing"})


# The context


def test_default_context() -> None:
    context = TLS.from_options(None).context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.protocol is ssl.PROTOCOL_TLS_CLIENT
    assert context.minimum_version not in (ssl.TLSVersion.SSLv3, ssl.TLSVersion.TLSv1)


def test_context_without_verification(certificates: Certificates) -> None:
    context = TLS.from_options({"verify_ca": False, "ca_path": certificates.ca}).context()
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_context_trusts_only_ca_path(certificates: Certificates, tmp_path: Path) -> None:
    context = TLS.from_options({"ca_path": certificates.ca}).context()
    assert context.cert_store_stats()["x509"] == 1
    # A directory is read when a certificate is verified.
    (tmp_path / "00000000.0").write_bytes(Path(certificates.ca).read_bytes())
    context = TLS.from_options({"ca_path": tmp_path}).context()
    assert context.cert_store_stats()["x509"] == 0


def test_same_settings_share_a_context(certificates: Certificates) -> None:
    def context(**options: Any) -> ssl.SSLContext:
        return TLS.from_options(options).context()

    given = {"ca_path": certificates.ca}
    first = context(**given)
    assert context(**given) is first
    assert context(ca_path=Path(certificates.ca)) is first
    assert context(verify_ca=True, cert_file=None, **given) is first
    # The context outlives its users.
    number = id(first)
    del first
    gc.collect()
    assert id(context(**given)) == number
    others = [
        context(verify_ca=False, **given),
        context(ca_path=certificates.other_ca),
        context(ca_path=certificates.ca_directory),
        context(cert_file=certificates.client_pem, **given),
        context(cert_file=certificates.client_cert, priv_file=certificates.client_key, **given),
        context(),
    ]
    assert len({number, *map(id, others)}) == 7


def test_trust(certificates: Certificates, tmp_path: Path) -> None:
    def trust(path: str) -> tuple[str | None, str | None]:
        return TLS.from_options({"ca_path": path}).trust

    assert trust(certificates.ca) == (certificates.ca, None)
    assert trust(certificates.ca_directory) == (None, certificates.ca_directory)
    assert TLS.from_options(None).trust == system_trust()
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        trust(str(tmp_path / "missing.pem"))


# Invalid files


def encrypted(certificates: Certificates) -> bytes:
    key = serialization.load_pem_private_key(Path(certificates.client_key).read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def bad_options(certificates: Certificates, bad: Path) -> dict[str, dict[str, Any]]:
    return {
        "ca_path": {"ca_path": bad},
        "cert_file": {"cert_file": bad},
        "priv_file": {"cert_file": certificates.client_cert, "priv_file": bad},
        "cert_file without its key": {"cert_file": certificates.client_cert},
        "key of another": {"cert_file": bad, "priv_file": certificates.client_key},
    }


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("ca_path", b""),
        ("ca_path", b"garbage"),
        ("cert_file", None),
        ("cert_file", b"garbage"),
        ("priv_file", None),
        ("priv_file", b"garbage"),
        ("priv_file", encrypted),
        ("cert_file without its key", None),
        ("key of another", lambda certificates: Path(certificates.ca).read_bytes()),
    ],
)
async def test_invalid_file(
    what: str,
    content: bytes | Callable[[Certificates], bytes] | None,
    certificates: Certificates,
    make_client: MakeClient,
    closed_port: int,
    tmp_path: Path,
) -> None:
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_bytes(content(certificates) if callable(content) else content)
    options = bad_options(certificates, bad)[what]
    named = certificates.client_cert if what == "cert_file without its key" else str(bad)
    with pytest.raises(OSError, match=r"bad\.pem|client"):
        TLS.from_options(options).context()
    # The fetch returns an error, and OpenSSL does not ask for a password on the terminal.
    res = await make_client(options).fetch(f"https://127.0.0.1:{closed_port}/")
    assert res.error is not None
    assert res.error.code is errors.SSL_ERROR
    assert named in res.error.message


# The trust store of the system


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def environment(file: object = None, directory: object = None) -> None:
        for name, value in (("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directory)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, str(value))

    return environment


Environment = Callable[..., None]


def test_file_of_the_environment(
    environment: Environment, certificates: Certificates, tmp_path: Path
) -> None:
    environment(certificates.ca, tmp_path)
    assert system_trust() == (certificates.ca, None)
    assert TLS.from_options(None).context().cert_store_stats()["x509"] == 1


def test_directory_of_the_environment(
    environment: Environment, certificates: Certificates, tmp_path: Path
) -> None:
    environment(tmp_path / "missing.pem", certificates.ca_directory)
    assert system_trust() == (None, certificates.ca_directory)


def test_both_of_the_environment(environment: Environment, certificates: Certificates) -> None:
    environment(certificates.ca, certificates.ca_directory)
    assert system_trust() == (certificates.ca, certificates.ca_directory)


def test_list_of_directories(
    environment: Environment, certificates: Certificates, tmp_path: Path
) -> None:
    directories = [str(tmp_path / "missing"), certificates.ca_directory, str(tmp_path)]
    environment(tmp_path / "missing.pem", os.pathsep.join(directories))
    assert system_trust() == (None, certificates.ca_directory)
    both = tmp_path / "both"
    both.mkdir()
    (both / "file").touch()
    directories = [str(both), certificates.ca_directory]
    environment(tmp_path / "missing.pem", os.pathsep.join(directories))
    assert system_trust() == (None, os.pathsep.join(directories))


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_certifi_without_a_trust_store(kind: str, environment: Environment, tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    if kind == "empty":
        directory.mkdir()
    elif kind == "file":
        directory.touch()
    environment(tmp_path / "missing.pem", directory)
    assert system_trust() == (certifi.where(), None)
    assert TLS.from_options(None).context().cert_store_stats()["x509_ca"] > 50


def test_default_of_the_system(environment: Environment) -> None:
    environment()
    paths = ssl.get_default_verify_paths()
    cafile, capath = system_trust()
    assert cafile in (paths.cafile, certifi.where())
    assert capath in (paths.capath, None)
    assert cafile or capath


def test_changed_environment_is_used(
    environment: Environment, certificates: Certificates, tmp_path: Path
) -> None:
    default = TLS.from_options(None)
    environment(certificates.ca, tmp_path)
    first = default.context()
    environment(certificates.other_ca, tmp_path)
    second = default.context()
    assert first is not second
    environment(certificates.ca, tmp_path)
    assert default.context() is first


def test_ca_path_replaces_the_trust_store_of_the_system(
    environment: Environment, certificates: Certificates
) -> None:
    environment(certificates.other_ca, certificates.ca_directory)
    assert TLS.from_options({"ca_path": certificates.ca}).trust == (certificates.ca, None)


async def test_fetch_with_a_list_of_directories(
    make_client: MakeClient,
    tls_server: Callable[..., Awaitable[Server]],
    environment: Environment,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    server = await tls_server()
    other = tmp_path / "other"
    other.mkdir()
    (other / "00000000.0").write_bytes(Path(certificates.other_ca).read_bytes())
    environment(tmp_path / "missing.pem", f"{other}{os.pathsep}{certificates.ca_directory}")
    res = await make_client().fetch(server.url())
    assert res.error is None
    environment(tmp_path / "missing.pem", other)
    res = await make_client().fetch(server.url(), keep_alive=False)
    assert res.error is not None
    assert res.error.code is errors.SSL_ERROR
