"""`TLS`: checked ``ssl_options``, and the `ssl.SSLContext` for them.

This module decides which certificates are trusted, on every transport. The defaults of the
libraries differ: OpenSSL reads the environment, libcurl has a path compiled in, and the libcurl
of a pycurl wheel was compiled on another system.
"""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypedDict

from tornado.netutil import ssl_options_to_context

from .checks import unknown_name

_TYPES: dict[str, tuple[type, ...]] = {
    "priv_file": (str, os.PathLike),
    "cert_file": (str, os.PathLike),
    "ca_path": (str, os.PathLike),
    "verify_ca": (bool,),
}


class SSLOptions(TypedDict, total=False):
    """The keys of ``ssl_options``, for type checkers and editors.

    ``cert_file`` (path): PEM file with the certificate of the client, and optionally its
    private key. ``priv_file`` (path): PEM file with the unencrypted private key. ``ca_path``
    (path): PEM file or directory of trusted certificates, which replaces the system's trust
    store. ``verify_ca`` (bool, default true): verify the chain and the host name.

    ``None`` has the same effect as omitting the key. A missing or invalid file ends a fetch
    with ``SSL_ERROR``.

    Equivalent to the ``ssl_options`` table of ``turbo.async.HTTPClient``.
    """

    priv_file: str | os.PathLike[str] | None
    cert_file: str | os.PathLike[str] | None
    ca_path: str | os.PathLike[str] | None
    verify_ca: bool | None


@dataclass(frozen=True)
class TLS:
    """The TLS settings of a client; equal settings share one `ssl.SSLContext`."""

    cert_file: str | None = None
    priv_file: str | None = None
    ca_path: str | None = None
    verify_ca: bool = True

    @classmethod
    def from_options(cls, ssl_options: SSLOptions | None) -> TLS:
        """Check a mapping of ``ssl_options``.

        :raises TypeError: for anything other than a mapping, an unknown key, or a value of
            the wrong type.
        :raises ValueError: for ``priv_file`` without ``cert_file``.
        """
        if ssl_options is None:
            return DEFAULT_TLS
        if not isinstance(ssl_options, Mapping):
            kind = type(ssl_options).__name__
            raise TypeError(f"ssl_options must be a mapping or an ssl.SSLContext, not {kind}")
        settings: dict[str, Any] = {}
        value: Any
        for name, value in ssl_options.items():
            if name not in _TYPES:
                raise unknown_name("ssl_options", name, _TYPES)
            if value is None:
                continue
            if not isinstance(value, _TYPES[name]):
                expected = "a bool" if name == "verify_ca" else "a path"
                raise TypeError(
                    f"ssl_options[{name!r}] must be {expected}, not {type(value).__name__}"
                )
            settings[name] = value if name == "verify_ca" else _path(value)
        if "priv_file" in settings and "cert_file" not in settings:
            raise ValueError("ssl_options: priv_file requires cert_file")
        return cls(**settings)

    @property
    def trust(self) -> tuple[str | None, str | None]:
        """The PEM file and the directory of trusted certificates.

        :raises OSError: for a missing ``ca_path``.
        """
        if self.ca_path is None:
            return system_trust()
        os.stat(self.ca_path)
        return (None, self.ca_path) if os.path.isdir(self.ca_path) else (self.ca_path, None)

    def context(self) -> ssl.SSLContext:
        """Return the context of these settings, which the first call creates.

        :raises OSError: for a missing file.
        :raises ssl.SSLError: for an invalid file.
        """
        return _context(self, self.trust)


DEFAULT_TLS = TLS()

#: The error for an `ssl.SSLContext` on the curl transport. pycurl cannot pass it to libcurl.
CONTEXT_ON_CURL = (
    "ssl_options: the curl transport does not support an SSLContext; use a mapping of "
    "ssl_options, or the simple transport, which supports HTTP/1.1 only"
)


def check_ssl_options(ssl_options: SSLOptions | ssl.SSLContext | None) -> TLS | ssl.SSLContext:
    """Check the ``ssl_options`` of a client.

    :raises TypeError, ValueError: as `TLS.from_options`, and `ValueError` for a context of a
        server.
    """
    if not isinstance(ssl_options, ssl.SSLContext):
        return TLS.from_options(ssl_options)
    if ssl_options.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ValueError("ssl_options: the SSLContext is for servers; use PROTOCOL_TLS_CLIENT")
    return ssl_options


def _shared(create: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
    """Make calls with equal arguments share a context, if it is recent or in use."""
    in_use: weakref.WeakValueDictionary[Any, ssl.SSLContext] = weakref.WeakValueDictionary()

    @lru_cache(maxsize=64)
    def shared(*arguments: Any) -> ssl.SSLContext:
        context = in_use.get(arguments)
        if context is None:
            context = in_use[arguments] = create(*arguments)
        return context

    return shared


@_shared
def _context(tls: TLS, trust: tuple[str | None, str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The default depends on how Python and OpenSSL were built.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    # As in libcurl, the chain can end at a trusted intermediate or leaf certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # With TLS 1.3, a server can request the certificate after it has received the request.
    context.post_handshake_auth = True
    if not tls.verify_ca:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    cafile, capath = trust
    try:
        context.load_verify_locations(cafile=cafile, capath=capath)
    except (OSError, ssl.SSLError) as error:
        raise _naming(cafile or capath, error) from None
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.priv_file, _no_password)
        except (OSError, ssl.SSLError) as error:
            files = [name for name in (tls.cert_file, tls.priv_file) if name]
            raise _naming(" and ".join(files), error) from None
    return context


def context_of(ssl_options: Any) -> ssl.SSLContext:
    """Return the context of Tornado's ``ssl_options``: a dict or an `ssl.SSLContext`."""
    if isinstance(ssl_options, dict):
        return _tornado_context(*ssl_options.items())
    return ssl_options_to_context(ssl_options, server_side=False)


@_shared
def _tornado_context(*items: tuple[str, Any]) -> ssl.SSLContext:
    return ssl_options_to_context(dict(items), server_side=False)


def _no_password() -> str:
    # Without this callback, OpenSSL asks on the terminal and blocks the loop.
    raise ssl.SSLError("the private key is encrypted, which is unsupported")


def _naming(path: str | None, error: OSError) -> ssl.SSLError:
    return ssl.SSLError(error.errno, f"cannot load {path}: {error.strerror or error}")


def _path(value: Any) -> str:
    path = os.fsdecode(value)
    if "\0" in path:
        raise ValueError("ssl_options: a path must not contain NUL")
    return path


def system_trust() -> tuple[str | None, str | None]:
    """Return the system's PEM file and directory of trusted certificates.

    Honours ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``. Returns certifi's file if the system has
    neither a file nor a directory.
    """
    return _system_trust(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=8)
def _system_trust(cafile_env: str | None, capath_env: str | None) -> tuple[str | None, str | None]:
    # Cached for each environment: every https request calls this, and listing the directory
    # would cost as much as the request.
    paths = ssl.get_default_verify_paths()
    cafile = paths.cafile
    # OpenSSL accepts a list of directories.
    directories = (capath_env or paths.capath or "").split(os.pathsep)
    capath = os.pathsep.join(filter(_has_entries, directories)) or None
    if cafile is None and capath is None:
        import certifi

        cafile = certifi.where()
    return cafile, capath


def _has_entries(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is not None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
