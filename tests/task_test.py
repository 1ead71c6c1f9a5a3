from __future__ import annotations

import asyncio
import ctypes
import datetime
import functools
import inspect
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado import gen
from tornado.concurrent import Future
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from turbo_tornado import task

Callback = Callable[..., None]


class Worker:
    """A thread that runs calls, one after the other."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while call := self.calls.get():
            call()

    def join(self) -> None:
        self.calls.put(None)
        self.thread.join()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.join()


# The two conventions


async def test_turbo_convention() -> None:
    def add(x: int, y: int, cb: Callback, arg: object) -> None:
        IOLoop.current().add_callback(cb, arg, x + y)

    future = task(add, 1, 2)
    assert not future.done()
    assert await future == 3


async def test_turbo_convention_with_keywords() -> None:
    def add(x: int, cb: Callback, arg: object, *, y: int) -> None:
        cb(arg, x + y)

    assert await task(add, 1, y=2) == 3


async def test_turbo_convention_adds_callback_and_argument() -> None:
    seen: list[Any] = []
    future = task(lambda *args: seen.extend(args), 1, 2)
    assert seen[:2] == [1, 2]
    callback, arg = seen[2:]
    callback(arg, "result")
    assert await future == "result"


async def test_argument_of_the_callback_is_not_a_result() -> None:
    # The first argument is not a result, even if the function changes it.
    assert await task(lambda cb, arg: cb("other", "result")) == "result"


async def test_keyword_convention() -> None:
    def add(x: int, y: int, callback: Callback) -> None:
        IOLoop.current().add_callback(callback, x + y)

    future = task(add, 1, y=2)
    assert not future.done()
    assert await future == 3


async def test_keyword_convention_adds_the_callback() -> None:
    seen: dict[str, Any] = {}

    def remember(*args: Any, callback: Callback, **kwargs: Any) -> None:
        seen.update(kwargs, args=args)
        callback()

    await task(remember, 1, y=2)
    assert seen == {"args": (1,), "y": 2}


def with_turbo(*results: Any) -> Future[Any]:
    return task(lambda cb, arg: cb(arg, *results))


def with_keyword(*results: Any) -> Future[Any]:
    return task(lambda callback: callback(*results))


@pytest.mark.parametrize("given", [with_turbo, with_keyword])
@pytest.mark.parametrize(
    ("results", "result"),
    [
        ((), None),
        ((1,), 1),
        ((None,), None),
        (((1, 2),), (1, 2)),
        (([],), []),
        ((1, 2), (1, 2)),
        ((None, None), (None, None)),
        ((1, "b", None), (1, "b", None)),
    ],
    ids=repr,
)
async def test_results(given: Callable[..., Future[Any]], results: Any, result: Any) -> None:
    assert await given(*results) == result


async def test_callback_without_arguments() -> None:
    # The function violates the convention, but its results are passed on.
    assert await task(lambda cb, arg: cb()) is None


# The convention by the signature


class Methods:
    def turbo(self, x: Any, callback: Callback, arg: object) -> Any: ...

    def keyword(self, x: Any, callback: Callback) -> Any: ...

    @classmethod
    def of_class(cls, x: Any, callback: Callback) -> Any: ...

    def __call__(self, callback: Callback) -> Any: ...


class Made:
    def __init__(self, x: Any, callback: Callback) -> None: ...


def decorated(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapper


class Unknown:
    """Calls back by Turbo's convention, although its signature does not show it."""

    __signature__ = "unknown"

    def __call__(self, *args: Any, **kwargs: Any) -> None: ...


def positional_only(callback: Callback, /) -> None: ...


def keyword_only(x: Any, *, callback: Callback) -> None: ...


def keyword_only_before_arg(*, callback: Callback, arg: Any) -> None: ...


def before_keyword_only(x: Any, callback: Callback, *, flag: bool) -> None: ...


TURBO: list[Callable[..., Any]] = [
    lambda cb, arg: None,
    lambda: None,
    lambda x: None,
    lambda *args: None,
    lambda *args, **kwargs: None,
    lambda *callback: None,
    lambda **callback: None,
    lambda callback, arg: None,
    lambda callback, arg=None: None,
    lambda callback, anything: None,
    lambda callback, *args: None,
    lambda callback, *args, **kwargs: None,
    lambda x, callback=None, arg=None: None,
    positional_only,
    Methods().turbo,
    IOLoop.add_timeout,
    IOLoop.add_callback,
    IOLoop.call_later,
    asyncio.BaseEventLoop.call_soon,
    functools.partial(lambda x, callback, arg: None, 1),
    Unknown(),
    # A function in C has no signature.
    ctypes.CFUNCTYPE(None)(lambda: None),
]
KEYWORD: list[Callable[..., Any]] = [
    lambda callback: None,
    lambda callback=None: None,
    lambda x, callback: None,
    lambda callback, timeout=1: None,
    lambda x, callback=None, timeout=1: None,
    lambda callback, timeout=1, arg=None: None,
    lambda callback, **kwargs: None,
    lambda *args, callback: None,
    lambda *args, callback=None, arg=None: None,
    keyword_only,
    keyword_only_before_arg,
    before_keyword_only,
    Methods().keyword,
    Methods.of_class,
    Methods(),
    Made,
    decorated(Methods().keyword),
    IOLoop.add_future,
    IOStream.set_close_callback,
    functools.partial(lambda x, callback: None, 1),
]


def shown(func: Any) -> str:
    try:
        return f"{getattr(func, '__name__', type(func).__name__)}{inspect.signature(func)}"
    except (TypeError, ValueError):
        return type(func).__name__


def convention_of(func: Callable[..., Any]) -> str:
    """Return the convention by which `task` calls a function of this signature."""
    calls: list[str] = []

    def spy(*args: Any, **kwargs: Any) -> None:
        if set(kwargs) == {"callback"} and not args:
            calls.append("keyword")
        elif not kwargs and len(args) == 2 and callable(args[0]):
            calls.append("turbo")

    spy.__wrapped__ = func  # type: ignore[attr-defined]
    task(spy)
    [convention] = calls
    return convention


@pytest.mark.parametrize("func", TURBO, ids=shown)
async def test_signatures_of_the_turbo_convention(func: Callable[..., Any]) -> None:
    assert convention_of(func) == "turbo"


@pytest.mark.parametrize("func", KEYWORD, ids=shown)
async def test_signatures_of_the_keyword_convention(func: Callable[..., Any]) -> None:
    assert convention_of(func) == "keyword"


# An explicit convention


async def test_explicit_keyword_convention() -> None:
    def hidden(*args: Any, **kwargs: Any) -> None:
        assert args == (1,)
        kwargs["callback"]("result")

    assert await task(hidden, 1, convention="keyword") == "result"


async def test_explicit_turbo_convention() -> None:
    def misleading(x: int, data: Callback, callback: Any) -> None:
        data(callback, x)

    assert await task(misleading, 1, convention="turbo") == 1


@pytest.mark.parametrize("convention", ["Turbo", "", "tornado", 1])
async def test_unknown_convention(convention: Any) -> None:
    called: list[Any] = []
    with pytest.raises(ValueError, match="'turbo' or 'keyword'"):
        task(called.append, convention=convention)
    assert not called


# When the callback is called


def keep(callbacks: list[Callback], callback: Callback) -> None:
    callbacks.append(callback)


async def test_function_is_called_at_once() -> None:
    calls: list[int] = []
    task(lambda x, cb, arg: calls.append(x), 1)
    assert calls == [1]


@pytest.mark.parametrize("given", [with_turbo, with_keyword])
async def test_callback_before_return(given: Callable[..., Future[Any]]) -> None:
    future = given("at once")
    assert future.done()
    assert await future == "at once"


@pytest.mark.parametrize("convention", ["turbo", "keyword"])
async def test_callback_from_another_thread(convention: Any, worker: Worker) -> None:
    def later(*args: Any, callback: Callback | None = None) -> None:
        turbo_callback, *arg = args or (callback,)
        worker.calls.put(lambda: turbo_callback(*arg, threading.current_thread()))

    # Only a wake-up of the loop can end the wait.
    result = await asyncio.wait_for(task(later, convention=convention), 10)
    assert result is worker.thread


async def test_callback_from_another_thread_before_return(worker: Worker) -> None:
    def at_once(callback: Callback) -> None:
        called = threading.Event()
        worker.calls.put(functools.partial(callback, 1))
        worker.calls.put(called.set)
        assert called.wait(10)

    future = task(at_once)
    # The future belongs to the thread of its loop, which has not been asked yet.
    assert not future.done()
    assert await asyncio.wait_for(future, 10) == 1


async def test_second_call_is_ignored() -> None:
    def twice(callback: Callback) -> None:
        callback(1)
        callback(2)

    assert await task(twice) == 1


async def test_second_call_later_is_ignored() -> None:
    callbacks: list[Callback] = []
    future = task(keep, callbacks)
    callbacks[0](1)
    assert await future == 1
    callbacks[0](2)
    assert future.result() == 1


async def test_second_call_from_another_thread_is_ignored(worker: Worker) -> None:
    def thrice(callback: Callback) -> None:
        for number in range(3):
            worker.calls.put(functools.partial(callback, number))

    future = task(thrice)
    assert await asyncio.wait_for(future, 10) == 0
    worker.join()
    # The loop has received the callback of the thread.
    await asyncio.sleep(0)
    assert future.result() == 0


async def test_callback_after_cancel_is_ignored() -> None:
    callbacks: list[Callback] = []
    future = task(keep, callbacks)
    future.cancel()
    callbacks[0](1)
    with pytest.raises(asyncio.CancelledError):
        await future


async def test_callback_from_another_thread_after_cancel_is_ignored(worker: Worker) -> None:
    callbacks: list[Callback] = []
    future = task(keep, callbacks)
    future.cancel()
    worker.calls.put(functools.partial(callbacks[0], 1))
    worker.join()
    await asyncio.sleep(0)
    assert future.cancelled()


# Exceptions of a function


class Mistake(Exception):
    pass


@pytest.mark.parametrize("convention", ["turbo", "keyword"])
async def test_exception_of_the_function_fails_the_future(convention: Any) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise Mistake("as it was")

    future = task(fail, convention=convention)
    with pytest.raises(Mistake, match="as it was"):
        await future


async def test_wrong_arguments_fail_the_future() -> None:
    def one(x: int, *, callback: Callback) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="positional argument"):
        await task(one, 1, 2)


async def test_callback_after_raising_is_ignored() -> None:
    callbacks: list[Callback] = []

    def fail(callback: Callback) -> None:
        callbacks.append(callback)
        raise Mistake

    future = task(fail)
    callbacks[0](1)
    with pytest.raises(Mistake):
        await future


async def test_raising_after_the_callback_fails_the_future() -> None:
    def fail(callback: Callback) -> None:
        callback(1)
        raise Mistake

    future = task(fail)
    with pytest.raises(Mistake):
        await future


async def test_generator_coroutine() -> None:
    @gen.coroutine
    def old(callback: Callback) -> Any:
        yield gen.moment

    with pytest.raises(TypeError, match="await it"):
        task(old)


async def test_base_exception_is_raised() -> None:
    def leave(callback: Callback) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        task(leave)


# Functions without a callback


async def coroutine_function(callback: Callback) -> None:
    raise AssertionError


class AsyncMethod:
    async def method(self, callback: Callback) -> None:
        raise AssertionError


class AsyncCallable:
    async def __call__(self, callback: Callback) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    "func",
    [
        coroutine_function,
        AsyncMethod().method,
        functools.partial(coroutine_function, 1),
        AsyncCallable(),
        # With any signature, because the coroutine would never run.
        lambda callback, timeout=1: coroutine_function(callback),
        lambda cb, arg: coroutine_function(cb),
    ],
    ids=shown,
)
async def test_coroutine_functions(func: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="await it"):
        task(func)


async def test_message_names_the_coroutine_function() -> None:
    with pytest.raises(TypeError, match="coroutine_function"):
        task(coroutine_function)


@pytest.mark.parametrize(
    "func", [None, 5, "add_timeout", object()], ids=lambda func: type(func).__name__
)
async def test_function_that_is_not_callable(func: Any) -> None:
    with pytest.raises(TypeError, match="function"):
        task(func)


async def test_returned_value_is_not_a_result() -> None:
    def answer(cb: Callback, arg: object) -> str:
        IOLoop.current().add_callback(cb, arg, "called back")
        return "returned"

    assert await task(answer) == "called back"


# Real callback APIs


async def test_add_timeout() -> None:
    loop = IOLoop.current()
    deadline = loop.time() + 0.02
    assert await task(loop.add_timeout, deadline) is None
    # uvloop's timers count whole milliseconds.
    assert loop.time() > deadline - 0.002


async def test_add_timeout_with_a_timedelta() -> None:
    started = time.monotonic()
    assert await task(IOLoop.current().add_timeout, datetime.timedelta(seconds=0.02)) is None
    # uvloop's timers count whole milliseconds, from a time that is rounded.
    assert time.monotonic() - started >= 0.018


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: task(loop.add_callback),
        lambda loop: task(loop.call_later, 0.001),
        lambda loop: task(loop.call_at, loop.time()),
        lambda loop: task(loop.asyncio_loop.call_soon),
        lambda loop: task(loop.asyncio_loop.call_later, 0.001),
    ],
    ids=["add_callback", "call_later", "call_at", "call_soon", "later"],
)
async def test_calls_of_the_loop(call: Callable[[Any], Future[Any]]) -> None:
    future = call(IOLoop.current())
    assert not future.done()
    assert await asyncio.wait_for(future, 10) is None


async def test_add_future() -> None:
    waited: Future[int] = Future()
    future = task(IOLoop.current().add_future, waited)
    waited.set_result(5)
    assert await future is waited


async def test_close_callback_of_a_stream() -> None:
    ours, theirs = socket.socketpair()
    stream = IOStream(ours)
    future = task(stream.set_close_callback)
    theirs.close()
    # The stream detects the close only during a read.
    reading = asyncio.ensure_future(stream.read_bytes(1))
    assert await asyncio.wait_for(future, 10) is None
    await asyncio.wait([reading])
    assert reading.exception() is not None


async def test_add_handler_by_keyword() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = IOLoop.current()
        theirs.send(b"x")

        def readable(fd: socket.socket, callback: Callback) -> None:
            loop.add_handler(fd, callback, IOLoop.READ)

        fd, events = await asyncio.wait_for(task(readable, ours), 10)
        loop.remove_handler(ours)
    assert fd is ours
    assert events & IOLoop.READ


async def test_in_a_tornado_coroutine() -> None:
    @gen.coroutine  # type: ignore[untyped-decorator]
    def sleep() -> Any:
        result = yield task(IOLoop.current().add_timeout, IOLoop.current().time())
        both = yield [with_keyword(number) for number in (1, 2)]
        raise gen.Return((result, both))

    assert await sleep() == (None, [1, 2])


def test_before_the_loop_runs() -> None:
    # The future can be made before the loop runs.
    results: list[Any] = []

    def thread() -> None:
        loop = IOLoop()
        future = task(loop.add_callback)
        results.append(loop.run_sync(lambda: future))
        loop.close()

    runner = threading.Thread(target=thread)
    runner.start()
    runner.join()
    assert results == [None]
