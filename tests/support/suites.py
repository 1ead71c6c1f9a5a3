"""Test cases of another project, without those that do not apply here."""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest


def adopt(
    module: ModuleType, left_out: Mapping[str, str], *names: str
) -> dict[str, type[unittest.TestCase]]:
    """Return subclasses of the test cases of ``module``, by name.

    :arg left_out: ``"Class.test"`` -> why it is skipped.
    :arg names: the classes; all that ``module`` defines when none is given.
    """
    adopted = {}
    for name, case in inspect.getmembers(module, inspect.isclass):
        if not issubclass(case, unittest.TestCase) or name.endswith("Mixin"):
            continue
        if name not in names if names else case.__module__ != module.__name__:
            continue
        # pytest creates an instance with this method name, which Tornado 6.4.0 requires.
        members: dict[str, Any] = {"runTest": None}
        for test, reason in left_out.items():
            class_name, _, method = test.partition(".")
            if class_name == name and hasattr(case, method):
                members[method] = pytest.mark.skip(reason=reason)(getattr(case, method))
        adopted[name] = type(name, (case,), members)
    return adopted
