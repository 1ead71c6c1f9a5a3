"""Examples of the documentation as namespaces, and a server for them."""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import markdown_it
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from .tls_server import TLSServer

ROOT = Path(__file__).parents[2]

Answer = Callable[[RequestHandler], Awaitable[None] | None]


class Recipe(dict[str, Any]):
    """The names that a block of code defines, as attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def slug(heading: str) -> str:
    """Return the name of the test of a section."""
    return "test_" + re.sub(r"\W+", "_", heading.lower())


def sections_of(page: str) -> dict[str, list[tuple[int, str]]]:
    """Return the first lines and the texts of the Python blocks of each section of a page."""
    sections: dict[str, list[tuple[int, str]]] = {}
    blocks: list[tuple[int, str]] = []
    tokens = markdown_it.MarkdownIt("commonmark").parse((ROOT / page).read_text("utf-8"))
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == "heading_open":
            blocks = sections[slug(following.content)] = []
        elif token.type == "fence" and token.info == "python":
            blocks.append((token.map[0] + 1 if token.map else 0, token.content))
    return {name: blocks for name, blocks in sections.items() if blocks}


def run_blocks(page: str, name: str, addresses: Mapping[str, str]) -> list[Recipe]:
    """Run the blocks of a section, each by itself, and return their namespaces.

    :arg name: the name of the test of the section.
    :arg addresses: address in the documentation -> address to use instead.
    """
    recipes = []
    for line, text in sections_of(page)[name]:
        code = text
        for address, local in addresses.items():
            code = code.replace(address, local)
        recipes.append(Recipe(__name__="recipe"))
        # With the empty lines, a traceback has the line numbers of the page.
        exec(compile("\n" * line + code, page, "exec", dont_inherit=True), recipes[-1])
    return recipes


class _Handler(RequestHandler):
    async def prepare(self) -> None:
        site: Site = self.settings["site"]
        site.requests.append(self.request)
        self.set_header("Content-Type", "application/json")
        result = site.answers[self.request.path](self)
        if result is not None:
            await result
        if not self._finished:
            self.finish()

    def compute_etag(self) -> None:
        return None


class Site(TLSServer):
    """A TLS server whose tests choose the response for each path."""

    def __init__(self, context: ssl.SSLContext) -> None:
        #: The function that responds to a request, by its path.
        self.answers: dict[str, Answer] = {}
        self.requests: list[HTTPServerRequest] = []
        application = Application([("/.*", _Handler)], site=self)  # type: ignore[arg-type]
        super().__init__(application, context)
