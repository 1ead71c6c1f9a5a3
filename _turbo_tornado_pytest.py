"""The pytest plugin of turbo_tornado: the fixture ``turbo_stub``.

Outside of the package, which every run of pytest would otherwise import, and before its
coverage is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from turbo_tornado.testing import StubTransport


@pytest.fixture
def turbo_stub() -> Iterator[StubTransport]:
    """A `turbo_tornado.testing.StubTransport` that is installed while the test runs."""
    from turbo_tornado.testing import StubTransport

    with StubTransport() as stub:
        yield stub
