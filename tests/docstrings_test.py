"""The public docstrings: each public object has one, and it names all arguments."""

from __future__ import annotations

import importlib
import inspect
import re
from importlib.util import find_spec
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
def test_says_what_it_raises(name: str) -> None:
    value = PUBLIC[name]
    if not inspect.isfunction(value):
        return
    raised = set(re.findall(r"\braise (\w+)\(", inspect.getsource(value)))
    # These end as `response.error`.
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
