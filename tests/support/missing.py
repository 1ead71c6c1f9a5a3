"""Tests whose peer is not installed."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import NoReturn

import pytest


def missing(peer: str) -> NoReturn:
    """Skip the tests of a peer with a reason, or fail them if ``CI`` is set.

    In CI, a missing peer must not go unnoticed.
    """
    if os.environ.get("CI"):
        pytest.fail(f"{peer} is not installed, and CI is set", pytrace=False)
    pytest.skip(f"{peer} is not installed: these tests are skipped", allow_module_level=True)


def import_peer(name: str) -> ModuleType:
    """Return the module of a peer that comes as a Python package."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        missing(name)
