"""``python -m tests.support.command_line_help``: writes the help of docs/guide/command-line.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from .generated import GeneratedPart

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "command-line.md"
PART = GeneratedPart("The help")
_COMMAND = "python -m turbo_tornado --help"


def block() -> str:
    """Return the output of ``--help`` in Markdown."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, *_COMMAND.split()[1:]]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return f"\n```text\n{text.stdout}```\n"


def normalized(text: str) -> str:
    """Return the help without the differences between versions of Python.

    Before Python 3.13, both names of an option have the argument. Line breaks
    depend on the length of the names.
    """
    return " ".join(re.sub(r"(-\w) \w+, --", r"\1, --", text).split())


if __name__ == "__main__":
    PART.write(PAGE, block())
