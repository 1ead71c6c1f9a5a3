"""The pytest plugin of turbo_tornado: the fixture ``turbo_stub``.

This module is outside of the package because pytest loads it in every run, before coverage
measurement starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from turbo_tornado.testing import StubTransport


@pytest.fixture
def turbo_stub() -> Iterator[StubTransport]:
    """An installed `turbo_tornado.testing.StubTransport`."""
    from turbo_tornado.testing import StubTransport

    with StubTransport() as stub:
        yield stub
