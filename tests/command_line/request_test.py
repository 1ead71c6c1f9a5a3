"""The options for the request, as it arrives at a peer."""

from __future__ import annotations

import base64
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tornado.httputil import HTTPFile, parse_body_arguments

from tests.support import Request, response
from turbo_tornado._command_line.arguments import argument_parser
from turbo_tornado._command_line.request import fetch_keywords

from .conftest import Run


def parsed(request: Request) -> tuple[dict[str, list[bytes]], dict[str, list[HTTPFile]]]:
    """Return the fields and the files of a form."""
    content_type = request.field("Content-Type")
    assert content_type is not None
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    parse_body_arguments(content_type, request.body, arguments, files)
    return arguments, files


async def test_params_are_the_query_of_a_get(run: Run, server: Any) -> None:
    await run("--param", "a=1 2", "--param", "a=3", "--param", "b==", server.url("/echo"))
    assert server.requests[0]["uri"] == "/echo?a=1%202&a=3&b=%3D"


async def test_params_are_the_form_of_a_post(run: Run, server: Any) -> None:
    await run("--method", "post", "--param", "a=1", server.url("/echo"))
    seen = server.requests[0]
    assert (seen["method"], seen["uri"], seen["body"]) == ("POST", "/echo", b"a=1")


async def test_header_takes_the_place_of_the_one_of_that_name(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run(
        *("--header", "user-agent: mine", "--header", "X-A:1", "--header", "X-A: 2"),
        peer.url(),
    )
    fields = [(name.lower(), value) for name, value in peer.requests[0].fields]
    assert [value for name, value in fields if name == "user-agent"] == ["mine"]
    assert [value for name, value in fields if name == "x-a"] == ["1", "2"]


async def test_cookies(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--cookie", "a=1", "--cookie", "b=2", "--cookie", "a=3", peer.url())
    assert peer.requests[0].field("Cookie") == "a=1; b=2; a=3"


async def test_auth(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--auth", "user:pass:word", peer.url())
    credentials = base64.b64encode(b"user:pass:word").decode()
    assert peer.requests[0].field("Authorization") == f"Basic {credentials}"


async def test_body_makes_it_a_post(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--body", "text", peer.url())
    request = peer.requests[0]
    assert (request.method, request.body) == ("POST", b"text")
    assert request.field("Content-Type") is None


async def test_method_with_body(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--method", "PUT", "--body", "", peer.url())
    assert (peer.requests[0].method, peer.requests[0].field("Content-Length")) == ("PUT", "0")


async def test_body_of_a_file(run: Run, raw_peer: Any, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\x00\xff")
    peer = await raw_peer(response())
    await run("--body", f"@{tmp_path / 'body'}", peer.url())
    assert peer.requests[0].body == b"\x00\xff"


@pytest.mark.parametrize("option", ["--body", "--form"])
def test_a_file_is_read_while_it_is_sent(tmp_path: Path, option: str) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"body")
    text = f"name=@{path}" if option == "--form" else f"@{path}"
    args = argument_parser().parse_args([option, text, "http://127.0.0.1/"])
    with ExitStack() as files:
        keywords: Any = fetch_keywords(args, files)
        content = keywords["files"][0][1][1] if option == "--form" else keywords["body"]
        assert content.tell() == 0
    assert content.closed


@pytest.mark.parametrize("option", ["--body", "--json", "--form"])
async def test_a_missing_file(run: Run, raw_peer: Any, tmp_path: Path, option: str) -> None:
    peer = await raw_peer(response())
    path = tmp_path / "none"
    text = f"name=@{path}" if option == "--form" else f"@{path}"
    ended = await run(option, text, peer.url())
    expected = f"python -m turbo_tornado: error: {path}: No such file or directory\n"
    assert ended == (2, b"", expected)
    assert not peer.requests


@pytest.mark.parametrize("option", ["--body", "--form"])
async def test_a_file_that_is_a_pipe(run: Run, raw_peer: Any, option: str) -> None:
    peer = await raw_peer(response())
    reader, writer = os.pipe()
    os.write(writer, b"piped")
    os.close(writer)
    path = f"/dev/fd/{reader}"
    await run(option, f"name=@{path}" if option == "--form" else f"@{path}", peer.url())
    os.close(reader)
    assert b"piped" in peer.requests[0].body


async def test_body_of_standard_input(start: Any, raw_peer: Any) -> None:
    peer = await raw_peer(response(b"\xfe"))
    process = await start("--body", "@-", peer.url())
    assert await process.communicate(b"\x00\xff") == (b"\xfe", b"")
    assert process.returncode == 0
    assert peer.requests[0].body == b"\x00\xff"


async def test_json(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--json", '{"a": 1}', peer.url())
    request = peer.requests[0]
    assert (request.method, json.loads(request.body)) == ("POST", {"a": 1})
    assert request.field("Content-Type") == "application/json"


async def test_json_with_a_content_type_of_ones_own(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--json", "{}", "--header", "Content-Type: application/ld+json", peer.url())
    fields = [value for name, value in peer.requests[0].fields if name == "Content-Type"]
    assert fields == ["application/ld+json"]


async def test_form(run: Run, raw_peer: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "notes").write_bytes(b"# Notes")
    peer = await raw_peer(response())
    await run(
        *("--form", "title=a=b", "--form", f"photo=@{tmp_path / 'photo.png'}"),
        *("--form", f"notes=@{tmp_path / 'notes'};type=text/markdown", "--form", "title=é"),
        peer.url(),
    )
    assert peer.requests[0].method == "POST"
    assert parsed(peer.requests[0]) == (
        {"title": [b"a=b", "é".encode()]},
        {
            "photo": [HTTPFile(filename="photo.png", body=b"\x89PNG", content_type="image/png")],
            "notes": [HTTPFile(filename="notes", body=b"# Notes", content_type="text/markdown")],
        },
    )


async def test_form_without_a_file_is_multipart(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--form", "a=1", "--method", "PUT", peer.url())
    assert peer.requests[0].method == "PUT"
    assert parsed(peer.requests[0]) == ({"a": [b"1"]}, {})


async def test_param_is_a_field_of_the_form_as_it_is(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--form", "a=1", "--param", "user=@name", peer.url())
    assert parsed(peer.requests[0]) == ({"user": [b"@name"], "a": [b"1"]}, {})


async def test_proxy(run: Run, raw_peer: Any, transport: str) -> None:
    proxy = await raw_peer(response(b"proxied"))
    url = "http://origin.example.com/path"
    ended = await run("--transport", transport, "--proxy", proxy.url().rstrip("/"), url)
    assert ended == (0, b"proxied", "")
    assert proxy.requests[0].target == url


async def test_proxy_of_the_environment(
    run: Run, raw_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await raw_peer(response(b"proxied"))
    monkeypatch.setenv("http_proxy", proxy.url())
    monkeypatch.delenv("no_proxy", raising=False)
    url = "http://origin.example.com/"
    assert (await run("--proxy", "environment", url)).out == b"proxied"


async def test_an_invalid_proxy_is_reported_without_its_password(run: Run) -> None:
    ended = await run("--proxy", "socks5://user:s3cret@127.0.0.1:1", "http://127.0.0.1/")
    assert (ended.code, ended.out) == (2, b"")
    assert "proxy must be http://" in ended.err
    assert "s3cret" not in ended.err
