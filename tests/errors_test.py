"""`FetchError` as an exception, and the groups of codes."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from turbo_tornado import FetchError, HTTPResponse, errors

ERROR = FetchError(errors.COULD_NOT_CONNECT, "localhost:1: refused")


def failed() -> HTTPResponse:
    return HTTPResponse(1.0, ERROR)


@pytest.fixture
def without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_error_is_raised() -> None:
    with pytest.raises(FetchError) as info:
        raise failed().error  # type: ignore[misc]
    assert info.value.code is errors.COULD_NOT_CONNECT
    assert info.value.message == "localhost:1: refused"
    assert str(info.value) == "COULD_NOT_CONNECT: localhost:1: refused"
    last = traceback.format_exception_only(FetchError, info.value)[-1]
    assert last == "turbo_tornado.errors.FetchError: COULD_NOT_CONNECT: localhost:1: refused\n"


def pickled(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_error_is_copied_and_pickled(duplicate: Callable[[Any], Any]) -> None:
    copied = duplicate(ERROR)
    assert type(copied) is FetchError
    assert copied is not ERROR
    assert (copied.code, copied.message) == (ERROR.code, ERROR.message)
    assert copied.code is ERROR.code
    assert str(copied) == str(ERROR)


def test_equality() -> None:
    res = failed()
    assert res.error == res.error == ERROR
    assert len({res.error, res.error, ERROR}) == 1
    assert FetchError(errors.BUSY, ERROR.message) != ERROR
    assert FetchError(ERROR.code, "another") != ERROR
    assert (ERROR.code, ERROR.message) != ERROR


def raise_attribute(res: HTTPResponse, local: object) -> None:
    assert res.error is not None
    raise res.error


def raise_for_error(res: HTTPResponse, local: object) -> None:
    res.raise_for_error()


@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("raise_it", [raise_attribute, raise_for_error])
def test_raising_leaves_no_cycle(raise_it: Callable[[HTTPResponse, object], None]) -> None:
    class Large:
        pass

    def handler() -> weakref.ref[Large]:
        large = Large()
        reference = weakref.ref(large)
        with contextlib.suppress(FetchError):
            raise_it(res, large)
        return reference

    res = failed()
    assert handler()() is None
    assert res.error is not None
    assert res.error.__traceback__ is None


def test_groups_of_codes() -> None:
    assert frozenset({errors.CONNECT_TIMEOUT, errors.REQUEST_TIMEOUT}) == errors.TIMEOUTS
    assert (
        frozenset(
            {
                errors.INVALID_URL,
                errors.INVALID_SCHEMA,
                errors.COULD_NOT_CONNECT,
                errors.CONNECT_TIMEOUT,
                errors.REQUIRES_BODY,
                errors.BUSY,
            }
        )
        == errors.NOT_SENT
    )
    # They are not members.
    assert len(errors) == 13
    assert [code.value for code in errors] == list(range(-1, -14, -1))
