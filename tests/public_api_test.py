"""The public names and their signatures, as an explicit list."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

import turbo_tornado
from turbo_tornado.request.keywords import KEYWORDS

ROOT = Path(__file__).parents[1]
NAMES = {
    "FetchError",
    "FetchKeywords",
    "HTTPClient",
    "HTTPHeaders",
    "HTTPResponse",
    "RequestEvent",
    "SSLOptions",
    "__version__",
    "configure",
    "errors",
    "reset",
    "task",
}
TESTING = {
    "Answer",
    "AnswerKeywords",
    "Route",
    "StubRequest",
    "StubTransport",
    "UnexpectedRequest",
}
HOOKS = ["on_request", "on_response"]
SIGNATURES = {
    "HTTPClient": ["ssl_options", "io_loop", "max_buffer_size", "transport", *HOOKS],
    "HTTPClient.fetch": ["self", "url", "kwargs", *KEYWORDS],
    "configure": ["transport", *HOOKS, *KEYWORDS],
    "reset": [],
    "task": ["func", "args", "convention", "kwargs"],
    "HTTPHeaders.get": ["self", "key", "default", "caseinsensitive"],
    "HTTPHeaders.add": ["self", "name", "value", "kwargs"],
    "HTTPHeaders.set": ["self", "key", "value", "caseinsensitive"],
    "HTTPHeaders.remove": ["self", "key", "caseinsensitive"],
    "HTTPHeaders.get_method": ["self"],
    "HTTPHeaders.set_method": ["self", "method"],
    "HTTPHeaders.get_uri": ["self"],
    "HTTPHeaders.set_uri": ["self", "uri"],
    "HTTPHeaders.get_version": ["self"],
    "HTTPHeaders.set_version": ["self", "version"],
    "HTTPHeaders.get_status_code": ["self"],
    "HTTPHeaders.set_status_code": ["self", "code"],
    "HTTPHeaders.stringify_as_request": ["self"],
}
RESPONSE = [
    *("body", "code", "error", "headers", "json", "raise_for_error", "reason", "request"),
    *("request_time", "text", "time_info", "url"),
]


def test_names() -> None:
    assert set(turbo_tornado.__all__) == NAMES
    for name in NAMES:
        assert hasattr(turbo_tornado, name)


def test_names_of_testing() -> None:
    from turbo_tornado import testing

    assert set(testing.__all__) == TESTING
    for name in TESTING:
        assert getattr(testing, name).__module__.startswith(f"{testing.__name__}.")


def test_every_name_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "api.md").read_text()
    documented = set(re.findall(r"\.\. auto(?:class|function|exception):: (\w+)", reference))
    others = {"SimpleTransport", "CurlTransport", "TurboTornadoInstrumentor"}
    assert documented == (NAMES - {"__version__"}) | TESTING | others


def test_nothing_else_is_public() -> None:
    modules = {
        name
        for name, value in vars(turbo_tornado).items()
        if inspect.ismodule(value) and not name.startswith("_")
    }
    public = {name for name in vars(turbo_tornado) if not name.startswith("_")} - modules
    assert public == NAMES - {"__version__"}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    value = turbo_tornado
    for part in name.split("."):
        value = getattr(value, part)
    assert list(inspect.signature(value).parameters) == SIGNATURES[name]


def test_signature_has_the_defaults() -> None:
    # IPython and jedi show and complete this.
    for function in (turbo_tornado.HTTPClient().fetch, turbo_tornado.configure):
        parameters = inspect.signature(function).parameters
        for name, keyword in KEYWORDS.items():
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
            assert parameters[name].default == keyword.default


def test_attributes_of_a_response() -> None:
    public = [name for name in dir(turbo_tornado.HTTPResponse) if not name.startswith("_")]
    assert public == RESPONSE


def test_keywords_are_those_of_the_table() -> None:
    assert list(turbo_tornado.FetchKeywords.__annotations__) == list(KEYWORDS)


def test_keys_of_ssl_options() -> None:
    from turbo_tornado.request.tls import _TYPES

    assert list(turbo_tornado.SSLOptions.__annotations__) == list(_TYPES)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("turbo_tornado.transports.simple", "SimpleTransport"),
        ("turbo_tornado.transports.curl", "CurlTransport"),
    ],
)
def test_transports(module: str, name: str) -> None:
    if name == "CurlTransport":
        pytest.importorskip("pycurl")
    assert inspect.isclass(getattr(importlib.import_module(module), name))
