"""`task`: a future for a function that takes a callback."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any, Literal

from tornado import gen
from tornado.concurrent import Future
from tornado.ioloop import IOLoop

from .messages import quoted

Convention = Literal["turbo", "keyword"]


def task(
    func: Callable[..., Any],
    *args: Any,
    convention: Convention | None = None,
    **kwargs: Any,
) -> Future[Any]:
    """Call ``func`` at once with a callback, and return a future of its results.

    :arg func: a function that takes a callback.
    :arg args: arguments of ``func``.
    :arg kwargs: keyword arguments of ``func``.
    :arg convention: how ``func`` takes its callback. ``"turbo"``: it is called as
        ``func(*args, callback, arg)`` and calls ``callback(arg, *results)``. ``"keyword"``: it
        is called as ``func(*args, callback=callback)`` and calls ``callback(*results)``, as
        for Tornado's former ``gen.Task``. Default: ``"keyword"`` if ``func`` has a parameter
        ``callback`` that is keyword-only, is the last one, or is followed by a parameter that
        has a default and is not named ``arg``; otherwise ``"turbo"``.
    :rtype: Future
    :raises TypeError: for a coroutine function, which can be awaited, and for anything that is
        not callable.
    :raises ValueError: for an unknown ``convention``.

    The result of the future is ``None`` if the callback receives no value, the value itself if
    it receives one, and a tuple if it receives more. ``func`` may call the callback before it
    returns, or from another thread. A second call is ignored. An exception of ``func`` becomes
    the exception of the future. ::

        await task(io_loop.add_timeout, io_loop.time() + 1)

    Equivalent to ``turbo.async.task(func, ...)``.
    """
    if not callable(func):
        raise TypeError(f"task() needs a function, not {type(func).__name__}")
    if inspect.iscoroutinefunction(func) or gen.is_coroutine_function(func):
        raise TypeError(f"{_name(func)} is a coroutine function; await it instead of task()")
    if convention not in (None, "turbo", "keyword"):
        raise ValueError(f"convention must be 'turbo' or 'keyword', not {quoted(convention)}")
    loop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
    future: Future[Any] = Future(loop=loop)
    thread = threading.get_ident()
    # The results of a call while `func` runs: `func` can still raise.
    early: list[tuple[Any, ...]] = []
    running = True

    def resolve(results: tuple[Any, ...]) -> None:
        if running:
            early.append(results)
        elif not future.done():
            future.set_result(None if not results else results[0] if len(results) == 1 else results)

    def callback(*results: Any) -> None:
        if threading.get_ident() == thread:
            resolve(results)
        else:
            loop.call_soon_threadsafe(resolve, results)

    def callback_with_arg(arg: Any = None, *results: Any) -> None:
        callback(*results)

    try:
        if (convention or _convention(func)) == "keyword":
            returned = func(*args, callback=callback, **kwargs)
        else:
            returned = func(*args, callback_with_arg, future, **kwargs)
    except Exception as error:
        future.set_exception(error)
        return future
    finally:
        running = False
    if inspect.iscoroutine(returned):
        returned.close()
        raise TypeError(f"{_name(func)} returned a coroutine; await it instead of task()")
    if early:
        resolve(early[0])
    return future


def _convention(func: Callable[..., Any]) -> Convention:
    try:
        parameters = list(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):
        # A built-in function can have no signature.
        return "turbo"
    for position, parameter in enumerate(parameters):
        if parameter.name != "callback":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            return "keyword"
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            return "turbo"
        following = parameters[position + 1 : position + 2]
        if not following or following[0].kind in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_KEYWORD,
        ):
            return "keyword"
        has_default = following[0].default is not parameter.empty
        return "keyword" if has_default and following[0].name != "arg" else "turbo"
    return "turbo"


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", None) or repr(func)
