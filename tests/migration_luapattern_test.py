"""The translation of Lua patterns to regular expressions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from turbo_tornado.migrate.luapattern import is_plain, regex_of, route_of

LUAJIT = shutil.which("luajit")

#: Pattern -> regular expression.
TRANSLATIONS = {
    "^%d+$": r"^[0-9]+\Z",
    "^[%a_][%w_]*$": r"^[A-Za-z_][A-Za-z0-9_]*\Z",
    "%s*(.-)%s*$": r"\s*(.*?)\s*\Z",
    "%S+": r"\S+",
    "%D": "[^0-9]",
    "%x%x": "[0-9A-Fa-f][0-9A-Fa-f]",
    "[^/]+": "[^/]+",
    "[%w%-]": r"[A-Za-z0-9\-]",
    "[]a]": r"[\]a]",
    "[a-]": r"[a\-]",
    "[a-f%d]": "[a-f0-9]",
    "(%a)%1": r"([A-Za-z])\1",
    "a++": r"a+\+",
    "(ab)*": r"(ab)\*",
    "x|y{2}": r"x\|y\{2\}",
    "100%%": "100%",
    "a$b^": r"a\$b\^",
    "%.%-": r"\.-",
}
TEXTS = ["", "a", " ab ", "aa+", "7", "12f", "/a/b", "x|y{2}", "100%", "a$b^", ".-", "]", "(ab)*"]


@pytest.mark.parametrize(("pattern", "regex"), TRANSLATIONS.items())
def test_translation(pattern: str, regex: str) -> None:
    assert regex_of(pattern) == regex


@pytest.mark.parametrize("pattern", ["%b()", "%f[%w]", "()", "[%W]", "[a", "a%", "(a", "a)"])
def test_no_translation(pattern: str) -> None:
    assert regex_of(pattern) is None
    assert route_of(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "regex"),
    [
        ("^/$", "/"),
        ("^/item/(%d+)$", "/item/([0-9]+)"),
        ("^/item/", "/item/.*"),
        ("/edit$", ".*?/edit"),
        ("/(%a*)", ".*?/([A-Za-z]*).*"),
        ("^/a\\Z", r"/a\\Z.*"),
    ],
)
def test_route(pattern: str, regex: str) -> None:
    assert route_of(pattern) == regex


def test_plain_text() -> None:
    assert is_plain("a/b, c")
    assert not any(map(is_plain, ["a.b", "a-b", "^a", "a%"]))


@pytest.mark.skipif(LUAJIT is None, reason="luajit is not installed")
@pytest.mark.parametrize("pattern", TRANSLATIONS)
def test_both_find_the_same(pattern: str) -> None:
    texts = ", ".join(map(json.dumps, TEXTS))
    script = (
        f"for _, text in ipairs {{{texts}}} do "
        f"local from, to = text:find({json.dumps(pattern)}) "
        "print(from and from - 1 or -1, to or -1) end"
    )
    assert LUAJIT is not None
    ended = subprocess.run(
        [LUAJIT, "-"], input=script, capture_output=True, text=True, timeout=30, check=True
    )
    found = [re.search(str(regex_of(pattern)), text, re.DOTALL) for text in TEXTS]
    spans = [match.span() if match else (-1, -1) for match in found]
    assert ended.stdout.split() == [str(number) for span in spans for number in span]
