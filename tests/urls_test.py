from __future__ import annotations

import re
import string
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turbo_tornado.failures import InvalidSchema, InvalidURL
from turbo_tornado.request.url import DEFAULT_PORTS, URL, parse_any_host, parse_url

# URL -> the normalized URL, and the address of the connection
NORMAL = [
    ("http://host", "http://host", "host", 80),
    ("http://host/", "http://host/", "host", 80),
    ("https://host", "https://host", "host", 443),
    ("HTTP://HOST/Path", "http://host/Path", "host", 80),
    ("hTTps://Www.Example.COM?Q", "https://www.example.com?Q", "www.example.com", 443),
    ("http://host.", "http://host.", "host.", 80),
    ("http://a_b-c.d~e/", "http://a_b-c.d~e/", "a_b-c.d~e", 80),
    ("http://" + "a" * 63 + "/", "http://" + "a" * 63 + "/", "a" * 63, 80),
    ("http://1.2.3.4/", "http://1.2.3.4/", "1.2.3.4", 80),
    # The default port goes, any other stays.
    ("http://host:80/", "http://host/", "host", 80),
    ("http://host:/", "http://host/", "host", 80),
    ("http://host:", "http://host", "host", 80),
    ("http://host:080/", "http://host/", "host", 80),
    ("http://host:443/", "http://host:443/", "host", 443),
    ("https://host:443/", "https://host/", "host", 443),
    ("https://host:80/", "https://host:80/", "host", 80),
    ("http://host:8080", "http://host:8080", "host", 8080),
    ("http://host:08080", "http://host:8080", "host", 8080),
    ("http://host:1/", "http://host:1/", "host", 1),
    ("http://host:65535/", "http://host:65535/", "host", 65535),
    # IPv6
    ("http://[::1]/", "http://[::1]/", "::1", 80),
    ("http://[::1]:8080/x", "http://[::1]:8080/x", "::1", 8080),
    ("http://[::1]:80", "http://[::1]", "::1", 80),
    ("http://[::1]:", "http://[::1]", "::1", 80),
    ("http://[2001:DB8::A]/", "http://[2001:db8::a]/", "2001:db8::a", 80),
    ("http://[::ffff:1.2.3.4]/", "http://[::ffff:1.2.3.4]/", "::ffff:1.2.3.4", 80),
    ("http://[fe80::1%25eth0]/", "http://[fe80::1%25eth0]/", "fe80::1%eth0", 80),
    ("http://[fe80::1%251]:81/", "http://[fe80::1%251]:81/", "fe80::1%1", 81),
    ("http://[FE80::A%25Wlan-0.1]", "http://[fe80::a%25Wlan-0.1]", "fe80::a%Wlan-0.1", 80),
    # Names with other characters than ASCII
    ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80),
    ("http://BÜCHER.example:81", "http://xn--bcher-kva.example:81", "xn--bcher-kva.example", 81),
    ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example", "xn--bcher-kva.example", 80),
    ("http://例え.jp", "http://xn--r8jz45g.jp", "xn--r8jz45g.jp", 80),
    # IDNA 2003 would map it to strasse.example, which is another host.
    ("http://straße.example", "http://xn--strae-oqa.example", "xn--strae-oqa.example", 80),
    ("http://a。b", "http://a.b", "a.b", 80),
    ("http://ｈｏｓｔ", "http://host", "host", 80),
    # In paths and queries, only characters outside ASCII are encoded.
    ("http://host?query", "http://host?query", "host", 80),
    ("http://host/?", "http://host/?", "host", 80),
    ("http://host/a//b/./../c", "http://host/a//b/./../c", "host", 80),
    ("http://host/%41%zz%", "http://host/%41%zz%", "host", 80),
    ("http://host/\"<>{}|\\^`[]'", "http://host/\"<>{}|\\^`[]'", "host", 80),
    ("http://host/a:b@c?d:e@f", "http://host/a:b@c?d:e@f", "host", 80),
    ("http://host/ü?ä=€", "http://host/%C3%BC?%C3%A4=%E2%82%AC", "host", 80),
    ("http://host/%C3%BCü", "http://host/%C3%BC%C3%BC", "host", 80),
    ("http://host/😀", "http://host/%F0%9F%98%80", "host", 80),
    # Fragments are dropped.
    ("http://host#fragment", "http://host", "host", 80),
    ("http://host/#", "http://host/", "host", 80),
    ("http://host/a?b#c?d#e", "http://host/a?b", "host", 80),
    ("http://host?a#/b", "http://host?a", "host", 80),
    # The user info is also dropped.
    ("http://user@host/", "http://host/", "host", 80),
    ("http://user:pass@host:81/", "http://host:81/", "host", 81),
    ("http://user:pass@[::1]:81/", "http://[::1]:81/", "::1", 81),
    ("http://evil@host@other/", "http://other/", "other", 80),
]


@pytest.mark.parametrize(("given", "url", "host", "port"), NORMAL)
def test_parse_url(given: str, url: str, host: str, port: int) -> None:
    parsed = parse_url(given)
    assert parsed.url == url
    assert (parsed.host, parsed.port) == (host, port)
    assert parsed.origin == (url.partition(":")[0], host, port)
    # Parsing a parsed URL does not change it.
    assert parse_url(parsed.url).url == url
    assert parse_url(parsed.url)[:5] == parsed[:5]


@pytest.mark.parametrize(
    ("given", "netloc", "target", "place"),
    [
        ("http://host", "host", "/", "host:80"),
        ("http://host/", "host", "/", "host:80"),
        ("http://host?a=b", "host", "/?a=b", "host:80"),
        ("http://host/a?b#c", "host", "/a?b", "host:80"),
        ("https://Host:443/a", "host", "/a", "host:443"),
        ("https://host:81//a", "host:81", "//a", "host:81"),
        ("http://[::1]/", "[::1]", "/", "[::1]:80"),
        ("http://[::1]:81/", "[::1]:81", "/", "[::1]:81"),
        ("http://user:pass@host/", "host", "/", "host:80"),
    ],
)
def test_parts_of_a_url(given: str, netloc: str, target: str, place: str) -> None:
    parsed = parse_url(given)
    assert parsed.netloc == netloc
    assert parsed.target == target
    assert parsed.host_and_port == place


@pytest.mark.parametrize(
    ("info", "username", "password"),
    [
        ("", None, None),
        ("@", None, None),
        ("user@", "user", ""),
        ("user:@", "user", ""),
        ("user:pass@", "user", "pass"),
        (":pass@", "", "pass"),
        ("user:a:b@", "user", "a:b"),
        ("us%40er:p%3Ass%2F@", "us@er", "p:ss/"),
        ("%C3%BCser:p%C3%A4ss@", "üser", "päss"),
        ("üser:päss@", "üser", "päss"),
        ("a@b:c@", "a@b", "c"),
        ("User:Pass@", "User", "Pass"),
        ("%E9:%FF@", "\udce9", "\udcff"),
    ],
)
def test_user_info(info: str, username: str | None, password: str | None) -> None:
    parsed = parse_url(f"http://{info}host/")
    assert (parsed.username, parsed.password) == (username, password)
    assert parsed.url == "http://host/"


INVALID = {
    "": "empty",
    # Without a scheme
    "host": "scheme",
    "/path": "scheme",
    "//host/": "scheme",
    "://host": "scheme",
    "?query": "scheme",
    "localhost:8080": "scheme",
    "localhost:8080/x": "scheme",
    "localhost:8080?x": "scheme",
    "localhost:8080#x": "scheme",
    "1http://host": "scheme",
    "+http://host": "scheme",
    "httpſ://host": "scheme",
    # Without a host
    "http": "scheme",
    "http:": "host",
    "http:/": "host",
    "http://": "host",
    "http:host": "host",
    "http:/host": "host",
    "http:///path": "host",
    "http://?query": "host",
    "http://#fragment": "host",
    "http://:80": "host",
    "http://user@": "host",
    "http://user:pass@/": "host",
    "http://user:pass@:80/": "host",
    "http:\\\\host": "host",
    # Invalid hosts
    "http://a..b": "host",
    "http://.a": "host",
    "http://.": "host",
    "http://" + "a" * 64: "host",
    "http://a!b": "host",
    "http://a%41": "host",
    "http://a,b": "host",
    "http://a;b": "host",
    "http://a=b": "host",
    "http://a'b": "host",
    "http://(a)": "host",
    "http://<a>": "host",
    'http://"a"': "host",
    "http://{a}": "host",
    "http://a|b": "host",
    "http://a^b": "host",
    "http://a`b": "host",
    "http://*": "host",
    # NFKC maps these to characters that end the host.
    "http://a／b": "host",
    "http://a？b": "host",
    "http://a＃b": "host",
    "http://a＠b": "host",
    "http://a：80": "host",
    "http://℀.com": "host",
    "http://a\u3000b": "host",
    # Invalid IPv6 addresses
    "http://[]": "host",
    "http://[::1": "host",
    "http://::1/": "host",
    "http://[::1]x": "host",
    "http://x[::1]": "port",
    "http://[::1]]": "host",
    "http://[:::1]": "IPv6",
    "http://[::12345]": "IPv6",
    "http://[1:2:3]": "IPv6",
    "http://[1.2.3.4]": "IPv6",
    "http://[host]": "host",
    "http://[v1.fe80]": "host",
    "http://[fe80::1%eth0]": "host",
    "http://[fe80::1%25]": "host",
    "http://[fe80::1%25eth0%25]": "host",
    "http://[fe80::1%25/]": "host",
    "http://1.2.3.4%25eth0": "host",
    # Characters that browsers treat as a slash
    "http://host\\@other/": "backslash",
    "http://host\\other": "backslash",
    "http://host:80\\": "backslash",
    # Invalid ports
    "http://host:0": "port",
    "http://host:65536": "port",
    "http://host:99999": "port",
    "http://host:100000": "port",
    "http://host:" + "9" * 5000: "port",
    "http://host:-1": "port",
    "http://host:+80": "port",
    "http://host:8_0": "port",
    "http://host:8a": "port",
    "http://host:0x50": "port",
    "http://host:８０": "port",
    "http://host:²": "port",
    "http://host:80:80": "port",
    "http://[::1]:http": "port",
    "http://user@host:pass@host:x": "port",
    # Spaces and control characters
    " http://host": "space",
    "http://host ": "space",
    "http://host/a b": "space",
    "http://host?a b": "space",
    "http://host#a b": "space",
    "http://us er@host": "space",
    "ht tp://host": "space",
    "http://ho st": "space",
    "http://host: 80": "space",
    "http://host/\t": "control",
    "http://host/\n": "control",
    "http://host/\r\nX: y": "control",
    "http://host/\0": "control",
    "http://host/\x1f": "control",
    "http://host/\x7f": "control",
    "http://host/\x80": "control",
    "http://host/\xa0": "space",
    "http://host/\u2028": "control",
    "http://host/\ud800": "control",
    "http://\udcff/": "control",
    "ftp://ho st/": "space",
    "\n": "control",
}


@pytest.mark.parametrize(("given", "word"), INVALID.items(), ids=lambda value: ascii(value)[:60])
def test_invalid_url(given: str, word: str) -> None:
    with pytest.raises(InvalidURL, match=word):
        parse_url(given)


@pytest.mark.parametrize(
    "given",
    [
        "ftp://host/",
        "FTP://host/",
        "file:///etc/passwd",
        "mailto:user@host",
        "javascript:alert(1)",
        "data:,text",
        "urn:isbn:123",
        "ws://host/",
        "httpx://host/",
        "http+unix://host/",
        "a.b-c+d1://host",
        "about:",
    ],
)
def test_invalid_schema(given: str) -> None:
    with pytest.raises(InvalidSchema, match=re.escape(repr(given.partition(":")[0].lower()))):
        parse_url(given)


@pytest.mark.parametrize(
    "given",
    [
        "http://secret:secret@/",
        "http://secret:secret@host:x/",
        "http://secret:secret@a..b/",
        "http://secret:secret@[::x]/",
        "http://secret:secret@host/a b",
        "http://secret\n:secret@host/",
        "ftp://secret:secret@host/",
    ],
    ids=ascii,
)
def test_messages_have_no_user_info(given: str) -> None:
    with pytest.raises((InvalidURL, InvalidSchema)) as raised:
        parse_url(given)
    assert "secret" not in str(raised.value)


# Queries


@pytest.mark.parametrize(
    ("given", "query", "url"),
    [
        ("http://host", "", "http://host"),
        ("http://host", "a=b", "http://host?a=b"),
        ("http://host/", "a=b", "http://host/?a=b"),
        ("http://host/path", "a=b", "http://host/path?a=b"),
        ("http://host/path?", "a=b", "http://host/path?a=b"),
        ("http://host?", "a=b", "http://host?a=b"),
        ("http://host/?c", "a=b", "http://host/?c&a=b"),
        ("http://host/?c=d", "a=b&e=f", "http://host/?c=d&a=b&e=f"),
        ("http://host/?c=d&", "a=b", "http://host/?c=d&a=b"),
        ("http://host/?a=b", "a=b", "http://host/?a=b&a=b"),
        ("http://host/?c=d", "", "http://host/?c=d"),
        ("http://host/&", "a=b", "http://host/&?a=b"),
        ("http://host/?c#fragment", "a=b", "http://host/?c&a=b"),
        ("http://user:pass@host:81/p", "a=b", "http://host:81/p?a=b"),
        ("http://[::1]:81", "a=b", "http://[::1]:81?a=b"),
    ],
)
def test_with_query(given: str, query: str, url: str) -> None:
    before = parse_url(given)
    after = before.with_query(query)
    assert after.url == url
    assert after._replace(path=before.path) == before
    assert parse_url(url).path == after.path


# The URLs of Tornado's clients


@pytest.mark.parametrize(
    ("given", "url", "host", "port"),
    [
        ("http://localhost:0/", "http://localhost:0/", "localhost", 0),
        (
            "http://%2Ftmp%2FServer.sock/a",
            "http://%2Ftmp%2FServer.sock/a",
            "%2Ftmp%2FServer.sock",
            80,
        ),
        ("http://" + "a" * 300, "http://" + "a" * 300, "a" * 300, 80),
        ("http://LocalHost:08080/", "http://LocalHost:8080/", "LocalHost", 8080),
        ("http://a,b;c=d!:1/", "http://a,b;c=d!:1/", "a,b;c=d!", 1),
        ("http://a b/", "http://a%20b/", "a%20b", 80),
        ("HTTP://host", "http://host", "host", 80),
        (" \x00http://host/a b?c\0d ", "http://host/a%20b?c%00d", "host", 80),
        ("ht\ttp://ho\rst/\na", "http://host/a", "host", 80),
        (
            "http://host/\x7f\xa0\u2028ä?ö#ü x",
            "http://host/%7F%C2%A0%E2%80%A8%C3%A4?%C3%B6",
            "host",
            80,
        ),
        ("http://[fe80::1%eth0]/", "http://[fe80::1%25eth0]/", "fe80::1%eth0", 80),
        ("http://[fe80::1%25eth0]/", "http://[fe80::1%25eth0]/", "fe80::1%eth0", 80),
        ("http://[::1]:0/", "http://[::1]:0/", "::1", 0),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80),
    ],
    ids=ascii,
)
def test_parse_any_host(given: str, url: str, host: str, port: int) -> None:
    parsed = parse_any_host(given)
    assert (parsed.url, parsed.host, parsed.port) == (url, host, port)
    assert parse_any_host(parsed.url) == parsed
    assert parse_any_host(given, is_from_peer=True) == parsed
    assert parsed.join("/x", any_host=True).host == host
    assert parsed.join(parsed.url, any_host=True) == parsed


@pytest.mark.parametrize(
    "given",
    [
        "",
        "host/path",
        "http:///path",
        "http://host\\@other/",
        "http://[host]/",
        "http://a[b/",
        "http://[::1%]/",
        "http://host:65536/",
        "http://host:x/",
        "http://a..ü/",
    ],
    ids=ascii,
)
def test_hosts_that_are_not_passed_to_a_resolver(given: str) -> None:
    with pytest.raises(InvalidURL):
        parse_any_host(given)


@pytest.mark.parametrize("given", ["ftp://host/", "h:5", "localhost:80/"])
def test_schemes_that_are_not_passed_to_a_resolver(given: str) -> None:
    with pytest.raises(InvalidSchema):
        parse_any_host(given)


def test_longest_host() -> None:
    assert parse_url("http://" + "a." * 127).host == "a." * 127


def test_user_info_for_a_resolver() -> None:
    parsed = parse_any_host("http://us er%3A%E9:pass@host/")
    assert (parsed.username, parsed.password) == ("us er:\udce9", "pass")


def test_origins_of_any_host() -> None:
    assert parse_any_host("http://Host").origin == parse_url("http://host").origin
    assert parse_any_host("http://[FE80::1%25A]").origin != parse_url("http://[fe80::1%25a]").origin


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("https://host./", "host"),
        ("https://[fe80::1%25eth0]/", "fe80::1"),
        ("https://%2Ftmp%2FServer.sock/", "%2Ftmp%2FServer.sock"),
    ],
)
def test_server_name(given: str, name: str) -> None:
    assert parse_any_host(given).server_name == name


# References

# RFC 3986, section 5.4, without the examples for other schemes, and without fragments.
RFC_3986 = {
    **{"g": "a/b/c/g", "./g": "a/b/c/g", "g/": "a/b/c/g/", "/g": "a/g", "//g": "g"},
    **{"?y": "a/b/c/d;p?y", "g?y": "a/b/c/g?y", "#s": "a/b/c/d;p?q", "g#s": "a/b/c/g"},
    **{"g?y#s": "a/b/c/g?y", ";x": "a/b/c/;x", "g;x": "a/b/c/g;x", "g;x?y#s": "a/b/c/g;x?y"},
    **{"": "a/b/c/d;p?q", ".": "a/b/c/", "./": "a/b/c/", "..": "a/b/", "../": "a/b/"},
    **{"../g": "a/b/g", "../..": "a/", "../../": "a/", "../../g": "a/g"},
    **{"../../../g": "a/g", "../../../../g": "a/g", "/./g": "a/g", "/../g": "a/g"},
    **{"g.": "a/b/c/g.", ".g": "a/b/c/.g", "g..": "a/b/c/g..", "..g": "a/b/c/..g"},
    **{"./../g": "a/b/g", "./g/.": "a/b/c/g/", "g/./h": "a/b/c/g/h", "g/../h": "a/b/c/h"},
    **{"g;x=1/./y": "a/b/c/g;x=1/y", "g;x=1/../y": "a/b/c/y"},
    **{"g?y/./x": "a/b/c/g?y/./x", "g?y/../x": "a/b/c/g?y/../x"},
    **{"g#s/./x": "a/b/c/g", "g#s/../x": "a/b/c/g"},
}

BASE = "http://user:pass@host:81/b/c/d;p?q"
JOINED = [
    ("http://other/g", "http://other/g"),
    ("HTTPS://Other:443/G", "https://other/G"),
    ("g", "http://host:81/b/c/g"),
    ("./g", "http://host:81/b/c/g"),
    ("g/", "http://host:81/b/c/g/"),
    ("/g", "http://host:81/g"),
    ("//g", "http://g"),
    ("//g:82/x", "http://g:82/x"),
    ("//[::1]:82/x", "http://[::1]:82/x"),
    ("?y", "http://host:81/b/c/d;p?y"),
    ("g?y", "http://host:81/b/c/g?y"),
    ("#s", "http://host:81/b/c/d;p?q"),
    ("g#s", "http://host:81/b/c/g"),
    ("g?y#s", "http://host:81/b/c/g?y"),
    (";x", "http://host:81/b/c/;x"),
    ("g;x?y", "http://host:81/b/c/g;x?y"),
    (".", "http://host:81/b/c/"),
    ("..", "http://host:81/b/"),
    ("../g", "http://host:81/b/g"),
    ("../..", "http://host:81/"),
    ("../../../g", "http://host:81/g"),
    ("/./g", "http://host:81/g"),
    ("/../g", "http://host:81/g"),
    ("g.", "http://host:81/b/c/g."),
    ("./../g", "http://host:81/b/g"),
    ("g/./h", "http://host:81/b/c/g/h"),
    ("g/../h", "http://host:81/b/c/h"),
    ("./a:b", "http://host:81/b/c/a:b"),
    ("g?y/../x", "http://host:81/b/c/g?y/../x"),
    ("g?u=http://other/", "http://host:81/b/c/g?u=http://other/"),
    ("%2e%2e/g", "http://host:81/b/c/%2e%2e/g"),
    ("%zz", "http://host:81/b/c/%zz"),
    ("[g]", "http://host:81/b/c/[g]"),
    ("\\\\other", "http://host:81/b/c/\\\\other"),
    ("/\\other", "http://host:81/\\other"),
    ("/.//other", "http://host:81//other"),
    ("?", "http://host:81/b/c/d;p?"),
    ("", "http://host:81/b/c/d;p?q"),
    ("g?", "http://host:81/b/c/g?"),
    ("/a//b", "http://host:81/a//b"),
    ("g//h/", "http://host:81/b/c/g//h/"),
    ("x//../g", "http://host:81/b/c/x/g"),
    ("http://other/a/./../b//c/..", "http://other/b//"),
    ("/a b?c d", "http://host:81/a%20b?c%20d"),
    (" /g", "http://host:81/b/c/%20/g"),
    ("/g ", "http://host:81/g%20"),
    ("/\xa0\x85", "http://host:81/%A0%85"),
    # Bytes in UTF-8, bytes in Latin-1, and a header that a transport has decoded.
    ("/caf\xc3\xa9?\xc3\xa9", "http://host:81/caf%C3%A9?%C3%A9"),
    ("/caf\xe9", "http://host:81/caf%E9"),
    ("/caf\xe9€", "http://host:81/caf%C3%A9%E2%82%AC"),
    ("//b\xc3\xbccher.example/", "http://xn--bcher-kva.example/"),
]


@pytest.mark.parametrize(("reference", "url"), JOINED, ids=ascii)
def test_join(reference: str, url: str) -> None:
    joined = parse_url(BASE).join(reference)
    assert joined.url == url
    assert (joined.username, joined.password) == (None, None)


@pytest.mark.parametrize(
    ("base", "reference", "url"),
    [
        ("http://host", "g", "http://host/g"),
        ("http://host", "?y", "http://host?y"),
        ("http://host?q", "g", "http://host/g"),
        ("http://host?q", "#s", "http://host?q"),
        ("https://host:81/", "//g/", "https://g/"),
        ("https://host/", "http://host/", "http://host/"),
        ("http://[fe80::1%25eth0]:81/b", "g", "http://[fe80::1%25eth0]:81/g"),
        ("http://host/", "http://user:pass@other/", "http://other/"),
    ],
)
def test_join_with_another_base(base: str, reference: str, url: str) -> None:
    assert parse_url(base).join(reference).url == url


def test_user_info_of_a_reference() -> None:
    joined = parse_url(BASE).join("http://me:mine@other/")
    assert (joined.username, joined.password) == ("me", "mine")


@pytest.mark.parametrize(
    "reference",
    [
        "http://",
        "http:g",
        "http:///g",
        "///g",
        "////g",
        "//",
        "//a..b/",
        "//host:x/",
        "//[::1/",
        "//host:99999/",
        "http://[::1/",
        "localhost:80/g",
        "//a b/",
        "http://b\xfccher.example/",
        "/g\th",
        "/g\r\nX: y",
        "\t/g",
        "/\x7f",
        "/\0",
    ],
    ids=ascii,
)
def test_join_with_an_invalid_reference(reference: str) -> None:
    with pytest.raises(InvalidURL):
        parse_url(BASE).join(reference)


def test_join_with_the_examples_of_rfc_3986() -> None:
    base = parse_url("http://a/b/c/d;p?q")
    joined = {reference: base.join(reference).url for reference in RFC_3986}
    assert joined == {reference: f"http://{url}" for reference, url in RFC_3986.items()}


@pytest.mark.parametrize("reference", ["ftp://host/", "g:h", "mailto:a@b", "data:,x"])
def test_join_with_another_scheme(reference: str) -> None:
    with pytest.raises(InvalidSchema):
        parse_url(BASE).join(reference)


# For any text

ODD = st.text(
    st.one_of(
        st.sampled_from("/:@?#[]%.\\-_;&= \t\r\n\0" + string.hexdigits),
        st.characters(),
    )
)


def check(parsed: URL) -> None:
    assert parsed.scheme in DEFAULT_PORTS
    assert re.fullmatch(r"[\x21-\x7e]+", parsed.url)
    assert re.fullmatch(r"/[\x21-\x7e]*|", parsed.target)
    assert parsed.target.startswith("/")
    assert not set("/?#@\\") & set(parsed.netloc)
    assert 0 < parsed.port < 65536
    assert "#" not in parsed.url
    again = parse_url(parsed.url)
    assert again == parsed._replace(username=None, password=None)


@settings(deadline=None)
@given(st.one_of(ODD, ODD.map("http://{}".format), ODD.map("https://host{}".format)))
def test_any_text(text: str) -> None:
    try:
        parsed = parse_url(text)
    except (InvalidURL, InvalidSchema):
        return
    check(parsed)


@settings(deadline=None)
@given(ODD, st.sampled_from([BASE, "https://host", "http://[fe80::1%25eth0]/a/b"]))
def test_any_reference(text: str, base: str) -> None:
    try:
        joined = parse_url(base).join(text)
    except (InvalidURL, InvalidSchema):
        return
    check(joined)


@settings(deadline=None)
@given(st.one_of(ODD, ODD.map("http://{}".format), ODD.map("https://host{}".format)))
def test_any_text_for_a_resolver(text: str) -> None:
    try:
        parsed = parse_any_host(text)
    except ValueError:
        return
    assert re.fullmatch(r"[\x21-\x7e]+", parsed.url)
    assert not set("/?#@\\") & set(parsed.netloc)
    assert 0 <= parsed.port < 65536
    assert parse_any_host(parsed.url) == parsed._replace(username=None, password=None)


def test_peer_does_not_evict_a_url_from_the_cache() -> None:
    url = "http://host/of/the/caller"
    base, any_base = parse_url(url), parse_any_host(url)
    for number in range(3000):
        joined = base.join(f"http://other/{number}", any_host=number % 2 == 0)
        parse_any_host(joined.url, is_from_peer=True)
    # A cached result is the same object.
    assert parse_url(url) is base
    assert parse_any_host(url) is any_base


def test_peer_does_not_fill_the_cache() -> None:
    base = parse_url("http://host/")
    tracemalloc.start()
    for number in range(2000):
        joined = base.join(f"http://host/{number}/" + "\xe9" * 10_000)
        assert joined.join(f"/{number}").path == f"/{number}"
        parse_url(f"http://host/{number}/" + "x" * 10_000)
    assert tracemalloc.get_traced_memory()[0] < 1_000_000
    tracemalloc.stop()
