"""What can be checked of the public docstrings: who has one, and what it names."""

from __future__ import annotations

import importlib
import inspect
import re
from importlib.util import find_spec
from typing import Any

import pytest

import turbo_tornado
from turbo_tornado.options import KEYWORDS

TRANSPORTS = ["turbo_tornado.transports.simple.SimpleTransport"]
if find_spec("pycurl"):
    TRANSPORTS.append("turbo_tornado.transports.curl.CurlTransport")


def public() -> dict[str, Any]:
    """Returns the public objects, and what their classes define, by name."""
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
        and attribute not in ("initialize", "fetch_impl")
    }
    return objects | members


PUBLIC = public()


def parameters_of(value: Any) -> set[str]:
    if inspect.isclass(value):
        if value in (turbo_tornado.HTTPResponse, turbo_tornado.HTTPHeaders):
            return set()  # Not called by users; as in Tornado.
        value = vars(value).get("initialize") or vars(value).get("__init__")
    if not inspect.isfunction(value):
        return set()
    return set(inspect.signature(value).parameters) - {"self"}


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
def test_says_what_it_answers_to(name: str) -> None:
    text = " ".join(PUBLIC[name].__doc__.split())
    if ".transports." in name:
        assert "AsyncHTTPClient" in text or "connections" in text
    else:
        assert re.search(r"Answers to (the )?``|Turbo has no such thing", text)


@pytest.mark.parametrize("name", PUBLIC)
def test_says_what_it_raises(name: str) -> None:
    value = PUBLIC[name]
    if not inspect.isfunction(value):
        return
    raised = set(re.findall(r"\braise (\w+)\(", inspect.getsource(value)))
    assert raised <= set(re.findall(r":raises (\w+):", value.__doc__))


def test_fetch_describes_every_keyword_with_its_default() -> None:
    # Dedented, as newer Pythons have it anyway.
    text = inspect.getdoc(turbo_tornado.HTTPClient.fetch)
    assert text is not None
    fields = dict(re.findall(r":arg (?:\w+ )?(\w+): (.*?)(?=\n:)", text, re.DOTALL))
    shown = {True: "true", None: "none", 60.0: "60", 20.0: "20", 4: "4"}
    for name, keyword in KEYWORDS.items():
        assert "efault" in fields[name], name
        if name != "user_agent":
            assert shown.get(keyword.default, str(keyword.default)) in fields[name], name


def test_a_response_describes_every_attribute() -> None:
    text = turbo_tornado.HTTPResponse.__doc__
    assert text is not None
    described = re.findall(r"\.\. attribute:: (\w+)", text)
    assert sorted(described) == sorted(turbo_tornado.HTTPResponse.__slots__)
