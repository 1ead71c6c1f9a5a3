"""The names of Turbo's modules for data structures, files, signals and threads."""

from .row import Row, Section

PAGE = "migration/names-tools.md"

STRUCTS = Section(
    PAGE,
    "Data structures",
    "turbo.structs",
    (
        Row("deque()", "collections.deque()"),
        Row(
            "deque:append(item); deque:appendleft(item); deque:pop(); deque:popleft()",
            "items.append(value); items.appendleft(value); items.pop(); items.popleft()",
            "`pop` and `popleft` of an empty deque raise IndexError. Turbo returns `nil`.",
        ),
        Row(
            "deque:peeklast(); deque:peekfirst(); deque:getn(pos)",
            "items[-1]; items[0]; items[1]",
            "Raises IndexError.",
        ),
        Row("deque:not_empty(); deque:size()", "bool(items); len(items)"),
        Row(
            "deque:strlen(); deque:concat(); deque:__concat(source); deque:__tostring()",
            'sum(map(len, items)); "".join(items); items + items; "".join(items)',
        ),
        Row("buffer(size_hint); Buffer(size_hint)", "bytearray()"),
        Row(
            "buffer:append_right(data, len); buffer:append_luastr_right(str); "
            "buffer:append_char_right(char)",
            "buffer.extend(data); buffer.extend(data); buffer.append(number)",
        ),
        Row(
            "buffer:append_left(data, len); buffer:append_luastr_left(str)",
            "buffer[0:0]",
            "`buffer[0:0] = data` inserts on the left.",
        ),
        Row(
            "buffer:pop_left(sz); buffer:pop_right(sz)",
            "buffer[:4]; buffer[-4:]",
            "`del buffer[:4]` and `del buffer[-4:]` remove the bytes.",
        ),
        Row(
            "buffer:get(); buffer:mem(); buffer:len(); buffer:copy()",
            "memoryview(buffer); len(buffer); len(buffer); buffer.copy()",
        ),
        Row("buffer:shrink()", "", "Remove it: Python releases the memory."),
        Row("buffer:clear(wipe)", "buffer.clear()"),
        Row(
            "buffer:__tostring(); buffer:__eq(cmp); buffer:__concat(src)",
            "bytes(buffer); buffer == buffer; buffer + buffer",
        ),
    ),
)

FILES = Section(
    PAGE,
    "Files",
    "turbo.fs",
    (
        Row("turbo.fs.stat(path, buf)", "os.stat(path)", "Raises OSError; Turbo returns -1."),
        Row(
            "turbo.fs.is_file(path); turbo.fs.is_dir(path)",
            "os.path.isfile(path); os.path.isdir(path)",
        ),
        Row("turbo.fs.glob(pattern)", "glob.glob(pattern)", "`[]` if nothing matches, not `nil`."),
        Row(
            "turbo.fs.NAME_MAX; turbo.fs.PATH_MAX",
            'os.pathconf(path, "PC_NAME_MAX"); os.pathconf(path, "PC_PATH_MAX")',
        ),
        Row(
            "turbo.inotify.*",
            "tornado.autoreload.watch(path)",
            "Restarts the program when a file changes. To react to changes otherwise, use a "
            "package such as `watchfiles`.",
        ),
        Row(
            "turbovisor",
            "Application([], autoreload=True)",
            "Or `python -m tornado.autoreload program.py`.",
        ),
    ),
)

PROCESSES = Section(
    PAGE,
    "Signals and threads",
    "turbo.thread",
    (
        Row(
            "turbo.signal.signal(signum, handler)",
            "signal.signal(signal.SIGTERM, func)",
            "`add_signal_handler` of the loop is safer.",
        ),
        Row("turbo.signal.SIG*", "signal.SIGTERM", "The same names in `signal`."),
        Row("turbo.signal.*", "signal"),
        Row(
            "Thread(func)",
            "asyncio.to_thread(func, arg)",
            "A thread, where Turbo forks a process: it shares the objects. For work that needs "
            "the CPU: `loop.run_in_executor` with a `ProcessPoolExecutor`.",
        ),
        Row(
            "Thread:wait_for_data(); Thread:wait_for_finish()",
            "await asyncio.to_thread(func, arg)",
            "The result of the function. An exception is raised by the `await`.",
        ),
        Row(
            "Thread:send(data); Thread:wait_for_pipe(); Thread:stop()",
            "queue.Queue()",
            "`return` sends one result. For several, use `io_loop.add_callback` from the thread.",
        ),
        Row("Thread:get_pid()", "threading.get_native_id()"),
    ),
)

SECTIONS = (STRUCTS, FILES, PROCESSES)
