"""Sphinx: ``sphinx-build -W --keep-going -n -b html docs docs/_build/html``."""

import re
from pathlib import Path

project = "turbo_tornado"
author = "the authors of turbo_tornado"
_version = (Path(__file__).parent.parent / "turbo_tornado" / "_version.py").read_text("utf-8")
version = release = re.search(r'^__version__ = "(.+)"$', _version, re.MULTILINE)[1]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx_copybutton"]
exclude_patterns = ["_build", "benchmarks"]
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_js_files = ["pages.js"]
html_copy_source = False
html_show_copyright = False
toc_object_entries_show_parents = "hide"
myst_heading_anchors = 3

# Output has no copy button, and a copied session has no prompts.
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

# As in Tornado's docstrings, `name` is a reference.
default_role = "py:obj"
doctest_global_setup = "from turbo_tornado import *"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

# References to objects of Python and Tornado have no links: the inventories that links need are on
# the network.
nitpick_ignore_regex = [
    ("py:.*", r"(_?asyncio|collections|concurrent|gzip|os|re|ssl|tornado|typing)\..*"),
    ("py:.*", r"(AsyncHTTPClient|HTTPRequest|IOLoop|Future|Any|Unpack|transports)(\..*)?"),
]

_DOCS = Path(__file__).parent
_LINK_OUT = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)\s]*)?\)")


def _unlink(app, docname, source):
    """Replace a link to a file outside of the documentation with its text."""

    def words(link):
        file = (_DOCS / docname).parent.joinpath(link[2]).resolve()
        return link[0] if file.is_relative_to(_DOCS) or not file.exists() else link[1]

    source[0] = _LINK_OUT.sub(words, source[0])


def setup(app):
    app.connect("source-read", _unlink)
