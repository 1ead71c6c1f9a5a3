"""The CA of the test run, and certificates of this CA and of others."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = ("localhost", "127.0.0.1", "::1")


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    assert all(number < 128 for number in rest)
    return _der(0x06, bytes([first * 40 + second, *rest]))


def subject_hash(certificate: x509.Certificate) -> str:
    """Return the name that OpenSSL looks for in a directory of certificates.

    X509_NAME_hash_ex: the SHA-1 of the subject in its canonical form (lower case,
    single spaces, UTF8String), of which the first four bytes count, little-endian.
    """
    canonical = b"".join(
        _der(
            0x31,
            _der(
                0x30,
                _oid(attribute.oid.dotted_string)
                + _der(0x0C, " ".join(str(attribute.value).lower().split()).encode()),
            ),
        )
        for attribute in certificate.subject
    )
    return f"{int.from_bytes(hashlib.sha1(canonical).digest()[:4], 'little'):08x}"


def _self_signed() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(host)) for host in HOSTS[1:]]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)


class Certificates:
    """PEM files, as paths (str): ``ca``, ``ca_directory`` (hashed), ``other_ca``,
    ``client_cert``, ``client_key``, ``client_pem`` (key and certificate)."""

    def __init__(self, folder: Path) -> None:
        ca, other = trustme.CA(), trustme.CA()
        self._folder = folder
        self.ca = self._write("ca.pem", ca.cert_pem.bytes())
        self.other_ca = self._write("other-ca.pem", other.cert_pem.bytes())

        directory = folder / "ca-directory"
        directory.mkdir()
        hashed = subject_hash(x509.load_pem_x509_certificate(ca.cert_pem.bytes()))
        (directory / f"{hashed}.0").write_bytes(ca.cert_pem.bytes())
        self.ca_directory = str(directory)

        client = ca.issue_cert("client@turbo.test")
        chain = b"".join(blob.bytes() for blob in client.cert_chain_pems)
        self.client_cert = self._write("client-cert.pem", chain)
        self.client_key = self._write("client-key.pem", client.private_key_pem.bytes())
        self.client_pem = self._write("client.pem", client.private_key_and_cert_chain_pem.bytes())

        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
        issued = {
            "valid": ca.issue_cert(*HOSTS),
            "wrong-host": ca.issue_cert("elsewhere.test"),
            "expired": ca.issue_cert(
                *HOSTS, not_before=past - datetime.timedelta(days=30), not_after=past
            ),
        }
        self._servers = {
            kind: self._write(f"{kind}.pem", leaf.private_key_and_cert_chain_pem.bytes())
            for kind, leaf in issued.items()
        }
        child = ca.create_child_ca()
        leaf = child.issue_cert(*HOSTS)
        self._servers["intermediate"] = self._write(
            "intermediate.pem", leaf.private_key_and_cert_chain_pem.bytes()
        )
        #: The certificates of that chain that can be trusted.
        self.anchors = {
            "root": self.ca,
            "intermediate": self._write("anchor.pem", child.cert_pem.bytes()),
            "leaf": self._write("leaf.pem", leaf.cert_chain_pems[0].bytes()),
        }
        self._servers["self-signed"] = self._write("self-signed.pem", _self_signed())

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)

    def server_file(self, certificate: str) -> str:
        """Return the path of a server's key and certificate."""
        return self._servers[certificate]

    def server_context(
        self, certificate: str = "valid", client_ca: str | None = None
    ) -> ssl.SSLContext:
        """Return the context of a server, which requires client certificates of ``client_ca``."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server_file(certificate))
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
