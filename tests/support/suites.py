"""Test cases of another project, without those that do not apply here."""

from __future__ import annotations

import contextlib
import functools
import inspect
import unittest
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

#: These expect durations of less than a second.
_TIMED = ("test_hello_world", "test_response_times")


def repeated(test: Callable[[unittest.TestCase], None]) -> Callable[[unittest.TestCase], None]:
    """Repeat a test that fails, because the machine can stop the process for some time."""

    @functools.wraps(test)
    def run(case: unittest.TestCase) -> None:
        for _ in range(4):
            with contextlib.suppress(AssertionError):
                return test(case)
        return test(case)

    return run


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
        members |= {test: repeated(getattr(case, test)) for test in _TIMED if hasattr(case, test)}
        for test, reason in left_out.items():
            class_name, _, method = test.partition(".")
            if class_name == name and hasattr(case, method):
                members[method] = pytest.mark.skip(reason=reason)(getattr(case, method))
        adopted[name] = type(name, (case,), members)
    return adopted
