"""The keyword ``files``, checked by Tornado's parser."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.httputil import HTTPFile, HTTPHeaders, parse_body_arguments

from tests.support import (
    Connection,
    Fetch,
    MakeClient,
    MakePeer,
    RawPeer,
    Refused,
    Request,
    Sent,
    response,
)
from turbo_tornado import errors


def parsed(request: Request) -> tuple[dict[str, list[bytes]], dict[str, list[HTTPFile]]]:
    content_type = request.field("Content-Type")
    assert content_type is not None
    assert content_type.startswith("multipart/form-data; boundary=")
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    headers = HTTPHeaders({"Content-Type": content_type})
    parse_body_arguments(content_type, request.body, arguments, files, headers)
    return arguments, files


class Unnamed:
    """A file without a name."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.read, self.seek, self.tell = self._file.read, self._file.seek, self._file.tell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "report.csv"
    path.write_bytes(b"a,b\r\n" * 50_000)
    return path


async def test_bytes_on_the_wire(sent: Sent) -> None:
    request = await sent(
        method="POST",
        params=[("a", "é"), ("a", 1)],
        files=[("f", ("x.txt", b"one")), ("g", ("y", b"\0\r\n", "image/x"))],
    )
    boundary = (request.field("Content-Type") or "").partition("=")[2]
    expected = (
        "--B\r\n"
        'Content-Disposition: form-data; name="a"\r\n\r\né\r\n'
        "--B\r\n"
        'Content-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        "--B\r\n"
        'Content-Disposition: form-data; name="f"; filename="x.txt"\r\n'
        "Content-Type: text/plain\r\n\r\none\r\n"
        "--B\r\n"
        'Content-Disposition: form-data; name="g"; filename="y"\r\n'
        "Content-Type: image/x\r\n\r\n\0\r\n\r\n"
        "--B--\r\n"
    )
    assert request.body == expected.replace("--B", f"--{boundary}").encode()
    assert request.field("Content-Length") == str(len(request.body))
    assert request.target == "/"


CONTENTS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "bytes": (lambda path: path.read_bytes(), "field", "application/octet-stream"),
    "bytearray": (lambda path: bytearray(path.read_bytes()), "field", "application/octet-stream"),
    "path": (lambda path: path, "report.csv", "text/csv"),
    "file": (lambda path: path.open("rb"), "report.csv", "text/csv"),
    "unnamed file": (lambda path: Unnamed(path.read_bytes()), "field", "application/octet-stream"),
    "name": (lambda path: ("n.png", path), "n.png", "image/png"),
    "list": (lambda path: ["n.png", path.read_bytes()], "n.png", "image/png"),
    "type": (lambda path: ("n.png", path, "a/b; c=d"), "n.png", "a/b; c=d"),
    "no type": (lambda path: ("n.png", path, None), "n.png", "image/png"),
    "unknown": (lambda path: ("n.unheard-of", path), "n.unheard-of", "application/octet-stream"),
    "data URL": (lambda path: ("data:a/b,c.png", path), "data:a/b,c.png", "image/png"),
}


@pytest.mark.parametrize(("content", "filename", "content_type"), CONTENTS.values(), ids=CONTENTS)
async def test_contents(
    sent: Sent, path: Path, content: Callable[[Path], Any], filename: str, content_type: str
) -> None:
    given = content(path)
    arguments, files = parsed(await sent(method="POST", files={"field": given}))
    assert arguments == {}
    [file] = files["field"]
    assert (file.filename, file.content_type) == (filename, content_type)
    assert file.body == path.read_bytes()
    if isinstance(given, io.IOBase):
        assert not given.closed
        given.close()


async def test_file_is_sent_from_its_position(sent: Sent) -> None:
    file = io.BytesIO(b"skipped and sent")
    file.seek(8)
    _, files = parsed(await sent(method="POST", files={"f": file}))
    assert files["f"][0].body == b"and sent"


async def test_params_are_fields(sent: Sent) -> None:
    params = {"a": [1, True], "b": "x=y&z%", "c": b"\xff", "d": "", 'é"': "€"}
    arguments, files = parsed(await sent(method="POST", params=params, files={"f": b"x"}))
    assert arguments == {
        "a": [b"1", b"true"],
        "b": [b"x=y&z%"],
        "c": [b"\xff"],
        "d": [b""],
        "é%22": ["€".encode()],
    }
    assert list(files) == ["f"]


@pytest.mark.parametrize("params", [None, {}])
async def test_only_files(sent: Sent, params: Any) -> None:
    arguments, files = parsed(await sent(method="PUT", params=params, files={"f": b""}))
    assert arguments == {}
    assert files["f"][0].body == b""


async def test_no_files(sent: Sent) -> None:
    arguments, files = parsed(await sent(method="POST", params={"a": 1}, files={}))
    assert (arguments, files) == ({"a": [b"1"]}, {})
    assert (await sent(method="POST", params={"a": 1}, files=None)).body == b"a=1"


@pytest.mark.parametrize(
    ("name", "sent_name"),
    [('a"b', "a%22b"), ("é€", "é€"), ("a\\b", "a\\b"), ("a; filename=b", "a; filename=b")],
)
async def test_names_of_fields_and_files(sent: Sent, name: str, sent_name: str) -> None:
    request = await sent(method="POST", files={name: (name, b"x")})
    line = f'Content-Disposition: form-data; name="{sent_name}"; filename="{sent_name}"\r\n'
    assert line.encode() in request.body


async def test_name_of_a_file_that_is_not_utf_8(sent: Sent) -> None:
    request = await sent(method="POST", files={"f": (os.fsdecode(b"\xff.txt"), b"x")})
    assert b'filename="\xff.txt"' in request.body


async def test_content_type_of_headers_wins(sent: Sent) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=mine"}
    request = await sent(method="POST", files={"f": b"x"}, headers=headers)
    assert request.field("Content-Type") == headers["Content-Type"]


@pytest.mark.parametrize("code", [303, 307])
async def test_redirect(fetch: Fetch, raw_peer: MakePeer, path: Path, code: int) -> None:
    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            if request.target == "/start":
                await conn.send(response(b"", "Location: /end", status=f"{code} Moved"))
            else:
                await conn.send(response(b"ok"))

    peer = await raw_peer(script)
    with path.open("rb") as file:
        res = await fetch(peer.url("/start"), method="POST", files=[("a", file), ("b", path)])
    assert res.body == b"ok"
    first, last = peer.requests
    if code == 307:
        assert first.body == last.body
        assert first.field("Content-Type") == last.field("Content-Type")
    else:
        assert (last.body, last.field("Content-Type")) == (b"", None)


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ("report.csv", TypeError, "files must be a mapping or pairs"),
        (b"data", TypeError, "files must be a mapping or pairs"),
        ([b"data"], TypeError, "files must be a mapping or pairs"),
        ({1: b""}, TypeError, "a field name must be a str, not int"),
        ({"f": "report.csv"}, TypeError, "files['f'] must not be a str; pass a pathlib.Path"),
        ({"f": ("a", "text")}, TypeError, "files['f'] must not be a str"),
        ({"f": io.StringIO("x")}, TypeError, "open it in binary mode"),
        ({"f": 5}, TypeError, "files['f'] must be bytes, a binary file"),
        ({"f": None}, TypeError, "files['f'] must be bytes"),
        ({"f": ("a",)}, TypeError, "(filename, content)"),
        ({"f": (1, b"")}, TypeError, "the filename of files['f'] must be a str"),
        ({"f": ("a", b"", 5)}, TypeError, "the content type of files['f'] must be a str"),
        ({"f": ("a", b"", "a\r\nb: c")}, ValueError, "the content type of files['f'] has"),
        ({"f": ("a\r\nb", b"")}, ValueError, "control character"),
        ({"f": ("a\0", b"")}, ValueError, "control character"),
        ({"f\n": b""}, ValueError, "control character"),
        ({"f": ("\ud800", b"")}, ValueError, "UTF-8"),
    ],
    ids=range(17),
)
async def test_invalid_files(
    refused: Refused, files: Any, error: type[Exception], words: str
) -> None:
    assert words in str(await refused(error, method="POST", files=files))


async def test_params_with_an_invalid_name(refused: Refused) -> None:
    raised = await refused(ValueError, method="POST", params={"a\r\nb": 1}, files={"f": b""})
    assert "params" in str(raised)


@pytest.mark.parametrize("other", [{"body": ""}, {"json": []}])
async def test_files_with_another_body(refused: Refused, other: dict[str, Any]) -> None:
    assert "only one of" in str(await refused(TypeError, files={"f": b""}, **other))


async def test_file_without_a_size(make_client: MakeClient, peer: RawPeer) -> None:
    res = await make_client().fetch(
        peer.url(), method="POST", files={"f": Path("/proc/self/status")}
    )
    assert res.error is not None and res.error.code is errors.INVALID_BODY
    assert "has no size" in res.error.message
    assert peer.connections == 0


async def test_empty_file(sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    _, files = parsed(await sent(method="POST", files={"f": tmp_path / "empty"}))
    assert files["f"][0].body == b""


class Failing(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


class Short(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        return b""


def closed_file(path: Path) -> Any:
    with path.open("rb") as file:
        return file


def pipe(path: Path) -> Any:
    os.mkfifo(path.parent / "fifo")
    return path.parent / "fifo"


UNREADABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path.parent / "missing", "missing: No such file"),
    "directory": (lambda path: path.parent, "not a regular file"),
    "fifo": (pipe, "not a regular file"),
    "NUL": (lambda path: Path("a\0b"), "null"),
    "closed": (closed_file, "closed file"),
    "failing": (lambda path: Failing(b"data"), "Input/output error"),
    "shorter": (lambda path: Short(b"data"), "shorter"),
}


@pytest.mark.parametrize(("content", "words"), UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable_files(
    fetch: Fetch, peer: RawPeer, path: Path, content: Callable[[Path], Any], words: str
) -> None:
    res = await fetch(peer.url(), method="POST", files={"f": ("name", content(path))})
    assert res.error is not None
    assert res.error.code is errors.INVALID_BODY
    assert words in res.error.message
    assert (await fetch(peer.url())).body == b"ok"
