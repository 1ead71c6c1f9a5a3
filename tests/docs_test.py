"""Every fenced block of README.md, CONTRIBUTING.md, SECURITY.md and docs/ is run.

The blocks of a page run in order, with the real client, in a separate process and a folder
that holds ``ca.pem``, ``other-ca.pem``, ``client-cert.pem`` and ``client-key.pem``. Only
addresses are changed: ``http(s)://...example.com``, ``domain.com`` and ``localhost`` become ports
of servers of this test. support/world.py defines their answers; ``nowhere.example.com`` refuses
connections, and ``expired``, ``self-signed``, ``wrong-host`` and ``mutual`` are about TLS.

``python``
    The blocks of a page share one namespace, ``await`` is allowed at the top, and GIVEN is
    defined. A RequestHandler that a block defines is served and asked once. A block with
    ``asyncio.run(`` or ``IOLoop.current().start()`` is a program and run by itself; one with
    port 8888 is a server, and asked for ``/``. A block with ``def test_`` or a ``TestCase`` is a
    test file, and run by pytest.
``pycon``
    A session, compared by doctest, in the namespace of the page.
``sh``
    Command by command, except for what NOT_RUN names.
``text``
    What the block before it printed and logged; ``...`` stands for anything, and milliseconds for
    any number of them.
``lua``, ``toml``
    Compiled, parsed.
``{name}``
    A directive, which Sphinx judges; what is within it is run. ``{literalinclude}`` shows files of
    examples/, which have separate tests.

UNRUN and RUN_ELSEWHERE list the blocks that cannot be run, with the reason. Other blocks must run.
"""

from __future__ import annotations

import asyncio
import doctest
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import markdown_it
import pytest

from tests.support import command_line_help, keyword_table, performance_tables
from tests.support.certificates import Certificates
from tests.support.missing import import_peer
from tests.support.ports import reserved_port
from tests.support.world import World
from turbo_tornado import HTTPClient
from turbo_tornado.errors import errors

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(ROOT / "docs").rglob("*.md"),
    )
    if path.exists() and "_build" not in path.parts
)

#: Names that the Python of every page may use without defining them.
GIVEN = {
    "url": "http://api.example.com/latest",
    "urls": [f"http://api.example.com/items/{number}" for number in range(5)],
    "secret": "s3cret",
    "answer": "human",
}

#: (page, how the block begins) -> why it is not run.
UNRUN = {
    ("docs/design.md", "keywords -> Request -> transport.send"): "a drawing",
    ("docs/guide/handler.md", '{"downloaded": 1}'): "a response, which a test of the page reads",
    ("docs/guide/command-line.md", "usage: python"): "a test below compares it",
    ("docs/guide/testing.md", "unexpected request: GET"): "what a failed test says",
    ("docs/migration/steps.md", "feed.lua:"): "tests/migration_check_test.py compares it",
}

#: Pages that need more than a server -> the test that runs their Python.
RUN_ELSEWHERE = {
    "docs/guide/cookbook.md": "tests/cookbook_test.py",
    "docs/guide/handler.md": "tests/handler_test.py",
    "docs/guide/testing.md": "tests/testing_test.py",
}

#: How a shell command begins -> why it is not run. Names in it are checked all the same.
NOT_RUN = {
    "pip install": "needs a package index",
    "python -m venv": "makes an environment",
    ". .venv/bin/activate": "is about the shell that the reader sits at",
    "python examples/": "may serve until Ctrl-C: tests of their own run the examples",
    "curl ": "talks to an example that serves",
    "python -m benchmarks": "takes minutes: tests/benchmarks_test.py runs it",
    "python -m tests.faults": "takes a minute and writes the page: tests/faults runs its rows",
    "python -m tests.support.command_line_help": "writes a page: a test compares it",
    "python -m tests.support.keyword_table": "writes a page: a test compares it",
    "python -m tests.support.performance_tables": "writes a page: a test compares it",
    "python -m turbo_tornado.migrate": "needs a program: tests/migration_check_test.py runs one",
    "python -m tests.soak": "takes minutes: tests/soak runs a short one",
    "opentelemetry-instrument": "needs a program: tests/peers/opentelemetry_test.py runs one",
    "pytest": "runs this test",
    "HYPOTHESIS_PROFILE=long pytest": "takes minutes",
    "pre-commit": "changes what git does here",
    "tox": "runs this test",
    ".ci/run": "runs this test",
    ".ci/applications": "needs a package index",
    ".ci/sid": "runs this test",
    "ruff": "is an environment of tox",
    "mypy": "is an environment of tox",
    "sphinx-build": "is an environment of tox",
}

NEEDS_OPENTELEMETRY = r"turbo_tornado\.opentelemetry"
NEEDS_CURL = r"CurlTransport|curl_httpclient|[\"']curl[\"']"
DIRECTIVES = {
    *("toctree", "include", "literalinclude", "eval-rst", "doctest"),
    *("note", "warning", "tip", "image", "container", "raw"),
}


class Block(NamedTuple):
    page: str
    #: The first line of code, from 0.
    line: int
    language: str
    code: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line + 1}"

    @property
    def is_unrun(self) -> bool:
        if self.page in RUN_ELSEWHERE and self.language == "python":
            return True
        return any(self.page == page and self.code.startswith(start) for page, start in UNRUN)

    @property
    def is_test(self) -> bool:
        return re.search(r"^(async )?def test_|^class .*TestCase\b", self.code, re.M) is not None

    @property
    def is_program(self) -> bool:
        return (
            re.search(r"asyncio\.run\(|IOLoop\.current\(\)\.start\(\)", self.code, re.M) is not None
        )


def fences_of(page: str, text: str, line: int = 0) -> Iterator[Block]:
    for token in markdown_it.MarkdownIt("commonmark").parse(text):
        if token.type not in ("fence", "code_block"):
            continue
        first = line + token.map[0] + 1
        language, _, argument = token.info.partition(" ")
        block = Block(page, first, language, token.content)
        assert language, f"{block.where}: no language"
        if not language.startswith("{"):
            yield block
            continue
        assert language.strip("{}") in DIRECTIVES, f"{block.where}: nobody knows {language}"
        if language == "{literalinclude}":
            file = (ROOT / page).parent / argument
            assert file.resolve().is_relative_to(ROOT / "examples"), f"{block.where}: is not run"
        yield from fences_of(page, token.content, first)


def blocks_of(page: str) -> list[Block]:
    blocks = fences_of(page, (ROOT / page).read_text("utf-8"))
    return [block for block in blocks if not block.is_unrun]


@pytest.fixture
async def world(certificates: Certificates) -> AsyncIterator[World]:
    world = World(certificates)
    yield world
    await world.close()


@pytest.fixture
def environment(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working directory of blocks, whose processes trust the CA of the test."""
    folder = tmp_path / "page"
    shutil.copytree(Path(certificates.ca).parent, folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return folder


async def output_of(*command: str, cwd: Path, given: str = "") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE if given else DEVNULL, stdout=PIPE, stderr=STDOUT, cwd=cwd
    )
    try:
        output, _ = await process.communicate(given.encode() or None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def run_python(blocks: list[Block], world: World, cwd: Path) -> list[str]:
    """Run blocks that share a namespace, and return the output of each."""
    page = {
        "file": blocks[0].page,
        "given": GIVEN,
        "blocks": [(block.line, block.code, block.language) for block in blocks],
    }
    code, output = await output_of(
        *(sys.executable, "-W", "error", "-m", "tests.support.page"),
        cwd=cwd,
        given=world.localized(json.dumps(page)),
    )
    assert code == 0, world.named(output)
    return [world.named(text).replace("\r", "") for text in json.loads(output.splitlines()[-1])]


async def run_program(block: Block, world: World, cwd: Path) -> str:
    file = cwd / "program.py"
    if "8888" not in block.code:
        file.write_text(world.localized(block.code))
        code, output = await output_of(sys.executable, "-W", "error", str(file), cwd=cwd)
        assert code == 0, f"{block.where}: {world.named(output)}"
        return world.named(output)
    with reserved_port() as port:
        file.write_text(world.localized(block.code).replace("8888", str(port)))
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(file)), cwd=cwd, stdout=PIPE, stderr=STDOUT
        )
        try:
            while True:
                res = await HTTPClient().fetch(f"http://127.0.0.1:{port}/")
                if not (res.error and res.error.code == errors.COULD_NOT_CONNECT):
                    break
                assert server.returncode is None, f"{block.where}: the server has ended"
                await asyncio.sleep(0.05)
            assert res.error is None and res.code == 200, f"{block.where}: answered {res}"
        finally:
            if server.returncode is None:
                server.send_signal(signal.SIGTERM)
            output, _ = await server.communicate()
    return world.named(output.decode())


async def run_tests(block: Block, world: World, cwd: Path) -> str:
    file = cwd / "block_test.py"
    file.write_text(world.localized(block.code))
    code, output = await output_of(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("-o", "asyncio_mode=auto", "-c", os.devnull, "--rootdir", str(cwd), str(file)),
        cwd=cwd,
    )
    assert code == 0, f"{block.where}: {world.named(output)}"
    return world.named(output)


def commands_of(block: Block) -> list[str]:
    lines = block.code.replace("\\\n", " ").splitlines()
    commands = []
    for line in lines:
        words = shlex.split(line, comments=True, posix=False)
        for command in " ".join(words).split("&&"):
            if command.strip():
                commands.append(command.strip())
    return commands


async def run_shell(block: Block, judged: bool, world: World, cwd: Path) -> str:
    output = ""
    for command in commands_of(block):
        reason = next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)
        if reason is not None:
            check_names(block, command)
            continue
        assert command.startswith(("python ", "echo ")), f"{block.where}: {command}: not in NOT_RUN"
        code, text = await output_of("sh", "-c", world.localized(command), cwd=cwd)
        # A text block after it shows how it fails.
        assert code == 0 or judged, f"{block.where}: {command}: {world.named(text)}"
        output += world.named(text)
    return output


def check_names(block: Block, command: str) -> None:
    """Check that the extras, environments and files that a command names are there."""
    setup = (ROOT / "setup.py").read_text()
    for extras in re.findall(r"\.\[([\w,]+)\]", command):
        for extra in extras.split(","):
            assert f'"{extra}": [' in setup, f"{block.where}: no extra {extra!r}"
    words = shlex.split(command)
    if words[:2] == ["tox", "-e"]:
        ini = (ROOT / "tox.ini").read_text("utf-8")
        for name in [name for names in words[2:3] for name in names.split(",")]:
            # A section, or Pythons and factors.
            known = f"[testenv:{name}]" in ini or all(
                re.fullmatch(r"py\d+", part) or f" {part}: " in ini for part in name.split("-")
            )
            assert known, f"{block.where}: no environment {name!r}"
    elif words[0] in ("pytest", ".ci/run", ".ci/sid", "python"):
        for word in (word.partition("::")[0] for word in words):
            if "/" in word and not word.startswith(("-", "/", "http")):
                assert (ROOT / word).exists(), f"{block.where}: no {word}"


def compile_lua(block: Block) -> None:
    lua = import_module("lupa").LuaRuntime()
    chunk, message = lua.eval("load")(block.code), None
    if isinstance(chunk, tuple):
        # An interactive session shows the value of an expression.
        chunk, message = lua.eval("load")(f"return {block.code}"), chunk[1]
    assert not isinstance(chunk, tuple), f"{block.where}: {message}"


@pytest.mark.parametrize("page", PAGES)
async def test_blocks_of_a_page_run(page: str, world: World, environment: Path) -> None:
    blocks = blocks_of(page)
    if find_spec("pycurl") is None and any(re.search(NEEDS_CURL, block.code) for block in blocks):
        pytest.skip("this page uses the curl transport, and pycurl is not installed")
    if any(re.search(NEEDS_OPENTELEMETRY, block.code) for block in blocks):
        import_peer("opentelemetry.instrumentation")
    shared = [
        block
        for block in blocks
        if block.language in ("python", "pycon") and not (block.is_test or block.is_program)
    ]
    outputs: dict[Block, str] = {}
    if shared:
        outputs.update(zip(shared, await run_python(shared, world, environment), strict=True))
    for block, following in itertools.zip_longest(blocks, blocks[1:]):
        judged = following is not None and following.language == "text"
        if block in outputs:
            pass
        elif block.language == "python" and block.is_test:
            outputs[block] = await run_tests(block, world, environment)
        elif block.language == "python":
            outputs[block] = await run_program(block, world, environment)
        elif block.language == "sh":
            outputs[block] = await run_shell(block, judged, world, environment)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language not in ("lua", "text"):
            pytest.fail(f"{block.where}: nobody knows how to run {block.language!r}")
        if judged:
            assert following is not None and block in outputs, f"{block.where}: has no output"
            wanted, got = (
                re.sub(r"\b[\d.]+ ?ms\b", "0ms", f"{text.strip()}\n")
                for text in (following.code, outputs[block])
            )
            same = doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS)
            assert same, f"{following.where} should be:\n{outputs[block]}"
    if blocks:
        assert blocks[0].language != "text", f"{blocks[0].where}: the output of what?"


@pytest.mark.skipif(find_spec("lupa") is None, reason="lupa is not installed")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```lua" in (ROOT / page).read_text("utf-8")]
)
def test_lua_of_a_page_is_valid(page: str) -> None:
    for block in blocks_of(page):
        if block.language == "lua":
            compile_lua(block)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_exist(page: str) -> None:
    """Check that links also work in the source, without Sphinx."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    for words, link in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text):
        assert words, f"{page}: {link} has no words"
        file = link.partition("#")[0]
        assert ":" in file or (ROOT / page).parent.joinpath(file).exists(), f"{page}: {link}"


def test_blocks_that_are_not_run_exist() -> None:
    for page, start in UNRUN:
        assert f"\n{start}" in (ROOT / page).read_text("utf-8")
    for page, test in RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text("utf-8")


def rows_of(page: str, header: str) -> list[list[str]]:
    """Return the cells of the table that begins with ``header``."""
    _, _, table = (ROOT / page).read_text("utf-8").partition(header)
    rows = table.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_guide_has_the_table_of_keywords() -> None:
    command = "python -m tests.support.keyword_table"
    written = keyword_table.PART.read(keyword_table.PAGE)
    assert written == keyword_table.table(), f"run {command}"


def test_performance_has_the_measured_figures() -> None:
    part = performance_tables.PART
    command = "python -m tests.support.performance_tables"
    written = part.read(performance_tables.PAGE)
    assert written == performance_tables.tables(), f"run {command}"
    assert performance_tables.CHART.read_text() == performance_tables.drawing(), f"run {command}"


def test_the_guide_has_the_help_of_the_command_line() -> None:
    command = "python -m tests.support.command_line_help"
    written = command_line_help.PART.read(command_line_help.PAGE)
    normalized = command_line_help.normalized
    assert normalized(written) == normalized(command_line_help.block()), f"run {command}"


def test_the_guide_has_every_code() -> None:
    rows = rows_of("docs/guide/errors.md", "| `errors.` |")
    written = {re.findall(r"\w+", row[0])[0]: int(row[1]) for row in rows}
    assert written == {member.name: member.value for member in errors}


@pytest.mark.parametrize("column, module", [(1, "simple"), (2, "curl")])
def test_the_guide_has_the_arguments_of_the_transports(column: int, module: str) -> None:
    name = f"turbo_tornado.transports.{module}"
    transport = import_module(name) if module == "simple" else pytest.importorskip(name)
    initialize = getattr(transport, f"{module.title()}Transport").initialize
    defaults = {
        parameter.name: parameter.default
        for parameter in inspect.signature(initialize).parameters.values()
        if parameter.name != "self"
    }
    rows = rows_of("docs/guide/transports.md", "| argument | simple | curl | default |")
    rows = [row for row in rows if row[column] == "yes"]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(defaults)
    for row in rows:
        if number := re.match(r"\d+", row[3]):
            value = int(number[0]) * (2**20 if "MiB" in row[3] else 1)
            assert defaults[re.findall(r"\w+", row[0])[0]] in (value, None)
