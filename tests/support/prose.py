"""The prose of the project, and the words and patterns that it does not use."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import markdown_it

ROOT = Path(__file__).parents[2]

#: A pattern that prose must not match, in upper or lower case -> the words to write instead.
RULES = {
    # Negate the verb.
    r"(?<!there )\b(?:is|are|was|were|be|been) no (?!(?:longer|more|less|later)\b)": "is not a",
    r"(?<!there )\b(?:is|are|was|were|be) none\b(?! of)": "is not, does not exist",
    # The standard terms.
    r"\bkept\b": "reused, idle, stored, open, unchanged",
    r"\b(?:sent|sends?|sending|written|made) (?:again|twice)\b": "retried, repeated",
    r"\bhops?\b": "request, redirect",
    r"\b(?:rooms?|house)\b": "module, architecture",
    r"\b(?:spoilt|mended|unheard)\b": "invalid, fixed, unknown",
    r"\b(?:header|request|response|bad|folded|repeated|endless|large) fields?\b": "header",
    r"\blook-ups?\b": "DNS resolution, search",
    r"\banswers to\b(?! the)": "equivalent to",
    r"\bin (?:the )?place of\b": "instead of",
    r"\bbesides?\b": "also, next to",
    r"\bbe it\b": "whether",
    r"\bruns? out\b|\bran out\b|\brunning out\b": "expires, is exhausted",
    r"\bfor ever\b": "forever",
    r"\b(?:that|which) cannot be(?=[.,;:)]|$)": "invalid",
    r"\b(?:not|when|if|where|unless) given\b": "if omitted",
    r"\bput away\b|\btaken? away\b": "removed",
    # No personification.
    r"\b(?:says?|said|saying)\b": "is, contains, reports, describes",
    r"\b(?:hears?|heard|minds?|insists?|forgets?|forgot|believes?|wish(?:es)?)\b": "a fact",
    r"\b(?:libcurl|transports?|client|server|peer|kernel) promises?\b": "a fact",
    r"\b(?:nobody|somebody|anybody|whoever|whichever|whatever)\b": "the reader, the code, any",
    # Adjectives, not possessives.
    r"\bof (?:its|their|his|our|my) own\b": "a separate",
    r"\bof (?:ours|mine|yours|theirs)\b|\bours\b": "built-in, of this package",
    r"\bof [\w.]+'s(?=[.,;:)]|$| (?:is|are|that|which|and|or|for|in|with|on)\b)": "a Tornado ...",
}
#: A pattern that a sentence must not begin with -> the words to write instead.
OPENINGS = {
    r"(?:What|Whatever|Whoever|Whichever|Of)\b(?![^.:;]*\?)": "subject, active verb, object",
}

_RULES = {
    re.compile(pattern.replace(" ", r"\s"), re.IGNORECASE): words
    for pattern, words in RULES.items()
}
_OPENINGS = {
    re.compile(rf"(?:^|(?<=[.:;!?]\s))(?:{pattern})"): words for pattern, words in OPENINGS.items()
}
#: Stands for code, which is not prose.
_CODE = "\N{HORIZONTAL ELLIPSIS}"


class Passage(NamedTuple):
    path: Path
    #: From 1.
    line: int
    text: str
    #: A heading, or a link to one, is not a sentence.
    is_title: bool = False

    def violations(self) -> Iterator[str]:
        """Return a line for each invalid word or pattern in the passage."""
        rules = _RULES if self.is_title else {**_RULES, **_OPENINGS}
        found = [
            (match.start(), match[0], words)
            for pattern, words in rules.items()
            for match in pattern.finditer(self.text)
        ]
        name = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        for start, matched, words in sorted(found):
            line = self.line + self.text.count("\n", 0, start)
            yield f"{name}:{line}: {matched!r}; write: {words}"


def _tokens(path: Path) -> list[markdown_it.token.Token]:
    text = path.read_text("utf-8")
    metadata = re.match(r"---\n.*?\n---\n", text, re.DOTALL)
    if metadata:
        text = "\n" * metadata[0].count("\n") + text[metadata.end() :]
    return markdown_it.MarkdownIt("commonmark").enable("table").parse(text)


def in_markdown(path: Path) -> Iterator[Passage]:
    """Return the paragraphs, headings, list items and cells of a page, without their code."""
    before = ""
    line = 0
    for token in _tokens(path):
        line = token.map[0] if token.map else line
        if token.type == "inline":
            parts = token.children or []
            is_link = bool(parts) and (parts[0].type, parts[-1].type) == ("link_open", "link_close")
            is_title = is_link or before in ("heading_open", "th_open")
            yield Passage(path, line + 1, "".join(map(_text_of, parts)), is_title)
        before = token.type


def unintroduced(path: Path) -> list[str]:
    """Return the code blocks of a page without an introduction, and a missing first sentence."""
    tokens = _tokens(path)
    found = []
    if [token.type for token in tokens[2:4]] != ["heading_close", "paragraph_open"]:
        found.append("the first heading has no sentence after it")
    # An HTML block is the marker of a generated part.
    for before, token in pairwise(token for token in tokens if token.type != "html_block"):
        if token.type != "fence" or token.info.startswith("{"):
            continue
        is_output = token.info == "text" and before.type == "fence"
        is_introduced = before.type in (
            "paragraph_close",
            "bullet_list_close",
            "ordered_list_close",
        )
        if not (is_output or is_introduced) and token.map:
            found.append(f"line {token.map[0] + 1}: no sentence introduces the code")
    return found


def _text_of(token: markdown_it.token.Token) -> str:
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    if token.type == "code_inline":
        return _CODE
    return token.content if token.type in ("text", "image") else ""


def in_python(path: Path) -> Iterator[Passage]:
    """Return the docstrings and the comments of a module, without their code."""
    source = path.read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if node.body else None
            if isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant):
                text = docstring.value.value
                if isinstance(text, str):
                    yield Passage(path, docstring.lineno, _without_code(text))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = (token for token in tokens if token.type == tokenize.COMMENT)
    yield from _paragraphs(path, ((token.start, token.string) for token in comments))


def in_other_files(path: Path) -> Iterator[Passage]:
    """Return the comments of a file that is not Python, and the descriptions for tox."""
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    found = ((number, re.match(r"\s*(?=#|--|//)|description = ", line)) for number, line in lines)
    comments = (
        ((number, match.end()), match.string[match.end() :]) for number, match in found if match
    )
    yield from _paragraphs(path, comments)


def _paragraphs(path: Path, comments: Iterable[tuple[tuple[int, int], str]]) -> Iterator[Passage]:
    """Join the comments in adjacent lines, which have a line, a column and a text each."""
    first, lines = 0, list[str]()
    column = -1
    for position, comment in comments:
        text = comment.lstrip("#-/:! ")
        if lines and position == (first + len(lines), column):
            lines.append(text)
            continue
        if lines:
            yield Passage(path, first, _without_code("\n".join(lines)))
        (first, column), lines = position, [text]
    if lines:
        yield Passage(path, first, _without_code("\n".join(lines)))


def _without_code(text: str) -> str:
    """Return a docstring or comment in which names, code spans and blocks are replaced."""
    first, _, rest = text.partition("\n")
    text = f"{first}\n{textwrap.dedent(rest)}"
    text = re.sub(
        r"(``.+?``|`[^`]+`|^ *:\w+[^:\n]*:)",
        lambda span: _CODE + "\n" * span[0].count("\n"),
        text,
        flags=re.M,
    )
    lines = text.split("\n")
    is_block = False
    for number, line in enumerate(lines):
        if re.match(r"\s*(>>>|\.\.\. )", line) or (is_block and (line.startswith(" ") or not line)):
            lines[number] = ""
        else:
            is_block = line.endswith("::")
    return "\n".join(lines)
