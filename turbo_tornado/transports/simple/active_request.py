"""`ActiveRequest`: one request, from the queue to its result."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ...failures import ConnectTimeout, RequestTimeout
from ...request.request import Request
from ..base import OnDone
from ..request_tasks import RequestTasks, without_cancellation
from .connect import Connector
from .connection import Connection

if TYPE_CHECKING:
    from .transport import SimpleTransport

T = TypeVar("T")
R = TypeVar("R")


class Phase(enum.Enum):
    """The phases of an exchange, in order. A retry returns to CONNECTING."""

    QUEUED = enum.auto()
    CONNECTING = enum.auto()
    #: The request is being sent, or the response received.
    CONNECTED = enum.auto()
    #: The response or the failure has been reported.
    DONE = enum.auto()
    #: Nothing will be reported.
    ABORTED = enum.auto()


class ActiveRequest:
    """A request in progress, which reports once and then releases its resources.

    `Exchange` adds what happens on its connection.
    """

    # Class attributes, because only some requests set them.
    phase = Phase.QUEUED
    #: Seconds that the request waited in the queue.
    queued = 0.0
    #: Seconds from the start to the end of connecting.
    connect_time = 0.0
    _connector: Connector | None = None
    _connect_timer: asyncio.TimerHandle | None = None
    _connection: Connection | None = None
    _tasks: RequestTasks | None = None

    def __init__(
        self,
        transport: SimpleTransport,
        request: Request,
        context: ssl.SSLContext | None,
        on_done: OnDone,
    ) -> None:
        self.request = request
        self.context = context
        self._transport = transport
        self._on_done: OnDone | None = on_done
        # Callbacks of the caller see the context variables of the call.
        self._variables = contextvars.copy_context()
        self._created = time.monotonic()
        if request.request_timeout:
            transport.deadlines.add(
                self, request.request_timeout, ActiveRequest._on_request_timeout
            )

    @property
    def elapsed(self) -> float:
        """Seconds since the exchange was created."""
        return time.monotonic() - self._created

    @property
    def key(self) -> tuple[object, ...]:
        """The key of the connections that can carry this request."""
        request, url, proxy = self.request, self.request.url, self.request.proxy
        if proxy is not None and self.context is None:
            # The proxy reads the host of each request.
            return (proxy, request.family, request.source_ip)
        return (url.host, url.port, request.family, request.source_ip, self.context, proxy)

    def abort(self) -> None:
        """Stop at once: the connection is closed and nothing is reported."""
        if not self.is_done:
            self._end(Phase.ABORTED)
            self._transport.requests.remove(self)
            self._stop()

    def fail(self, error: BaseException) -> None:
        """Stop at once and report ``error``."""
        if not self.is_done:
            on_done = self._end(Phase.DONE)
            self._transport.requests.remove(self)
            self._stop()
            on_done(error)

    def _on_request_timeout(self) -> None:
        phase = "in request queue" if self.phase is Phase.QUEUED else "during request"
        if self._connector is not None:
            phase = self._connector.phase
        self.fail(RequestTimeout(f"Timeout {phase}"))

    def _end(self, phase: Phase) -> OnDone:
        on_done = self._on_done
        assert on_done is not None
        self.phase = phase
        if self.request.request_timeout:
            self._transport.deadlines.discard(self, self.request.request_timeout)
        self._on_done = None
        return on_done

    def _stop(self) -> None:
        if self._connect_timer is not None:
            self._connect_timer.cancel()
        if self._connector is not None:
            self._connector.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel()

    @property
    def is_done(self) -> bool:
        """Whether the request has been reported or was aborted."""
        return self._on_done is None

    def call(self, callback: Callable[[T], R], argument: T) -> R:
        """Call a callback of the caller with the context variables of the call."""
        return self._variables.run(callback, argument)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as a task that ends with the request; its exception is reported."""
        if self._tasks is None:
            transport = self._transport
            self._tasks = RequestTasks(
                transport.loop, self._variables, self._on_task_failed, transport.tasks
            )
        return self._tasks.spawn(work)

    def _on_task_failed(self, error: BaseException) -> None:
        # The other tasks run code of the caller, which can cancel itself.
        is_own = self.phase is Phase.CONNECTING
        self.fail(without_cancellation(error) if is_own else error)

    def connect(self) -> None:
        """Open a new connection."""
        self.phase = Phase.CONNECTING
        self._connector = self._transport.connect(self)
        timeout = self.request.connect_timeout
        if timeout and self._connector is not None:
            self._connect_timer = self._transport.loop.call_later(timeout, self._on_connect_timeout)

    def _on_connect_timeout(self) -> None:
        assert self._connector is not None
        self.fail(ConnectTimeout(f"Timeout {self._connector.phase}"))

    def on_connected(self, connection: Connection) -> None:
        """Continue with a new connection."""
        if self._connect_timer is not None:
            self._connect_timer.cancel()
            self._connect_timer = None
        self._connector = None
        self.connect_time = self.elapsed - self.queued
        self.send_on(connection)

    def start(self) -> None:
        """Start the request; called by the queue."""
        raise NotImplementedError

    def send_on(self, connection: Connection) -> None:
        """Send the request on a connection."""
        raise NotImplementedError

    def on_readable(self, connection: Connection) -> None:
        """Receive the available bytes."""
        raise NotImplementedError
