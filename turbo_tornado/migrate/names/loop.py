"""The names of ``turbo.ioloop`` and ``turbo.coctx``, and related names of Lua."""

from .row import Row, Section

PAGE = "migration/names-client.md"

LOOP = Section(
    PAGE,
    "The event loop",
    "turbo.ioloop",
    (
        Row(
            "turbo.ioloop.instance()",
            "IOLoop.current()",
            "Call it within a coroutine. `instance(func)` is this and `add_callback`.",
        ),
        Row("IOLoop()", "IOLoop()", "Rarely needed: `asyncio.run` creates the loop."),
        Row(
            "IOLoop:add_callback(func, arg)",
            "io_loop.add_callback(func, arg)",
            "`func` can be `async def`. Returns `None`, so calls cannot be chained.",
        ),
        Row(
            "IOLoop:add_timeout(timestamp, func, arg)",
            "io_loop.add_timeout(io_loop.time() + 3, func, arg)",
            "**Seconds, not milliseconds**, on the clock of `io_loop.time()`. This clock can "
            "differ from `time.monotonic()`.",
        ),
        Row("IOLoop:remove_timeout(ref)", "io_loop.remove_timeout(ref)"),
        Row(
            "IOLoop:set_interval(msec, func, arg)",
            "PeriodicCallback(func, msec).start()",
            "Milliseconds in both. Call it within `main`. `func` can be `async def`; it is not "
            "started again before it ends. Keep the object to stop it. There is no argument: "
            "write `lambda: func(arg)`.",
        ),
        Row("IOLoop:clear_interval(ref)", "PeriodicCallback.stop", "`ref.stop()`"),
        Row(
            "IOLoop:add_handler(fd, events, handler, arg)",
            "io_loop.add_handler(fd, func, IOLoop.READ)",
            "**The handler comes before the events.** It is called with `fd` and `events`.",
        ),
        Row("IOLoop:update_handler(fd, events)", "io_loop.update_handler(fd, IOLoop.WRITE)"),
        Row("IOLoop:remove_handler(fd)", "io_loop.remove_handler(fd)"),
        Row(
            "turbo.ioloop.READ; turbo.ioloop.WRITE; turbo.ioloop.ERROR",
            "IOLoop.READ; IOLoop.WRITE; IOLoop.ERROR",
        ),
        Row("turbo.ioloop.PRI", "", "No counterpart."),
        Row(
            "IOLoop:add_signal_handler(signo, handler, arg)",
            "asyncio.get_running_loop().add_signal_handler(signal.SIGINT, func, arg)",
            "Called with `arg` only.",
        ),
        Row(
            "IOLoop:remove_signal_handler(signo)",
            "asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)",
        ),
        Row("IOLoop:start()", "asyncio.run(main())"),
        Row(
            "IOLoop:close()",
            "io_loop.stop()",
            "**Not `close`**, which frees a loop that has stopped. Under `asyncio.run`, let `main` "
            "return instead, see [the frame](steps.md#create-the-frame).",
        ),
        Row("IOLoop:wait(timeout)", "io_loop.run_sync(main, timeout=2)", "Seconds in both."),
        Row(
            "IOLoop:running()",
            "asyncio.get_running_loop()",
            "Raises `RuntimeError` if no loop is running.",
        ),
        Row("IOLoop:finalize_coroutine_context(coctx)", "future.set_result(arg)"),
    ),
)

COROUTINES = Section(
    PAGE,
    "Coroutines",
    "turbo.coctx",
    (
        Row(
            "coroutine.yield(context)",
            "await future",
            "`coroutine.yield()` is `await asyncio.sleep(0)`. Each function with an `await` is "
            "`async def`, and each call of it needs its own `await`.",
        ),
        Row(
            "CoroutineContext(io_loop)",
            "asyncio.get_running_loop().create_future()",
            "A future can be resolved before it is awaited. In Turbo, this hangs.",
        ),
        Row(
            "CoroutineContext:set_arguments(args); CoroutineContext:finalize_context()",
            "future.set_result(arg)",
            "One value; use a tuple for several. From another thread: "
            "`io_loop.add_callback(future.set_result, arg)`.",
        ),
        Row(
            "CoroutineContext:set_state(state); CoroutineContext:get_state(); turbo.coctx.states",
            "future.done()",
            "The future maintains its state.",
        ),
        Row("CoroutineContext:get_coroutine_arguments()", "future.result()"),
    ),
)

GLOBALS = Section(
    PAGE,
    "Globals",
    "",
    (
        Row("TURBO_SSL", "", "Remove it: TLS is always available."),
        Row(
            "TURBO_STATIC_MAX; __TURBO_USE_LUASOCKET__; __TURBO_NO_JIT__",
            "",
            "Remove it: no counterpart is necessary.",
        ),
        Row("turbo.VERSION*", "tornado.version"),
        Row(
            "turbo.MAJOR_VERSION; turbo.MINOR_VERSION; turbo.MICRO_VERSION",
            "tornado.version_info",
        ),
        Row("turbo.platform.*", "sys.platform", "Rarely needed: `os` and `socket` are portable."),
    ),
)

SECTIONS = (LOOP, COROUTINES, GLOBALS)
