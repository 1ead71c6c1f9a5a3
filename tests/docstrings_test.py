"""Docstrings: their first line, and the complete docstrings of the public objects."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import turbo_tornado
from turbo_tornado.request.keywords import KEYWORDS
from turbo_tornado.transports.classify import REFUSED

TRANSPORTS = ["turbo_tornado.transports.simple.SimpleTransport"]
if find_spec("pycurl"):
    TRANSPORTS.append("turbo_tornado.transports.curl.CurlTransport")


def public() -> dict[str, Any]:
    """Return the public objects, and what their classes define, by name."""
    objects = {
        f"turbo_tornado.{name}": getattr(turbo_tornado, name)
        for name in turbo_tornado.__all__
        if not name.startswith("__")
    }
    for name in TRANSPORTS:
        module, _, kind = name.rpartition(".")
        objects[name] = getattr(importlib.import_module(module), kind)
    members = {
        f"{name}.{attribute}": value
        for name, kind in objects.items()
        if inspect.isclass(kind) and kind.__module__.startswith("turbo_tornado")
        for attribute, value in vars(kind).items()
        if inspect.isfunction(value)
        and not attribute.startswith("_")
        and (name not in TRANSPORTS or attribute in ("fetch", "close"))
    }
    return objects | members


PUBLIC = public()


def parameters_of(value: Any) -> set[str]:
    if inspect.isclass(value):
        if value in (
            *(turbo_tornado.HTTPResponse, turbo_tornado.HTTPHeaders),
            turbo_tornado.RequestEvent,
        ):
            return set()  # Not called by users; as in Tornado.
        value = vars(value).get("initialize") or vars(value).get("__init__")
    if not inspect.isfunction(value):
        return set()
    # The table of the guide documents the keywords.
    return set(inspect.signature(value).parameters) - {"self", *KEYWORDS}


@pytest.mark.parametrize("name", PUBLIC)
def test_has_a_docstring(name: str) -> None:
    text = vars(PUBLIC[name]).get("__doc__") or PUBLIC[name].__doc__
    assert text and re.match(r"[A-Z`].*[.;,:\w]\n?", text)


@pytest.mark.parametrize("name", PUBLIC)
def test_names_its_parameters(name: str) -> None:
    text = PUBLIC[name].__doc__
    named = set(re.findall(r":arg (?:\w+ )?(\w+):", text)) | set(re.findall(r"``(\w+)``", text))
    assert parameters_of(PUBLIC[name]) <= named


@pytest.mark.parametrize("name", PUBLIC)
def test_names_its_equivalent(name: str) -> None:
    text = " ".join(PUBLIC[name].__doc__.split())
    if ".transports." in name:
        assert "AsyncHTTPClient" in text or "connections" in text
    else:
        assert re.search(r"Equivalent to (the )?``|Turbo has no equivalent", text)


@pytest.mark.parametrize("name", PUBLIC)
def test_names_its_exceptions(name: str) -> None:
    value = PUBLIC[name]
    if not inspect.isfunction(value):
        return
    raised = set(re.findall(r"\braise (\w+)\(", inspect.getsource(value)))
    # The client returns these as `response.error`.
    raised -= {failure.__name__ for failure in REFUSED}
    assert raised <= set(re.findall(r":raises (\w+):", value.__doc__))


@pytest.mark.parametrize("name", KEYWORDS)
def test_a_keyword_has_a_type_and_a_meaning(name: str) -> None:
    keyword = KEYWORDS[name]
    assert re.fullmatch(r"[a-z][\w\- ,/]*", keyword.type)
    assert re.fullmatch(r"[A-Z`].*\.", keyword.meaning)
    assert name in turbo_tornado.FetchKeywords.__annotations__


def test_a_response_describes_every_attribute() -> None:
    text = turbo_tornado.HTTPResponse.__doc__
    assert text is not None
    described = re.findall(r"\.\. attribute:: (\w+)", text)
    public = {
        name
        for name in dir(turbo_tornado.HTTPResponse)
        if not name.startswith("_")
        and not inspect.isfunction(getattr(turbo_tornado.HTTPResponse, name))
    }
    assert set(described) == public


ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "examples", "tests", "turbo_tornado")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
#: Plural nouns, which begin a noun phrase. Another first word that ends with "s" is a verb.
PLURALS = {"Keywords", "Microseconds", "Names", "Seconds"}


def docstrings_of(module: Path) -> list[tuple[int, str, bool]]:
    """Return the line and the text of each docstring, and whether it is of a function."""
    found = []
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                found.append((node.body[0].lineno, text, is_function))
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_line_is_an_imperative_or_a_noun_phrase(module: Path) -> None:
    verbs = [
        f"line {line}: {word[0]}"
        for line, text, is_function in docstrings_of(module)
        if is_function and (word := re.match(r"[A-Z][a-z]+s\b(?<!ss)", text))
        if word[0] not in PLURALS
    ]
    assert not verbs


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if module.is_relative_to(ROOT / "turbo_tornado")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_first_line_is_short(module: Path) -> None:
    assert not [
        f"line {line}: {text}"
        for line, text, _ in docstrings_of(module)
        if len(text.splitlines()[0]) > 80
    ]
