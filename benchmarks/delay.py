"""A server that responds to thousands of GET requests at once, each after one second.

It uses epoll and a queue only, so that it is faster than every client. It listens on the same
port of all addresses of the benchmark, and prints the port.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world!"
#: Connections accepted before those that are due get their responses.
AT_ONCE = 100


def main(delay: float, addresses: list[str]) -> None:
    poller = select.epoll()
    listeners: dict[int, socket.socket] = {}
    port = 0
    for address in addresses:
        listener = socket.create_server((address, port), backlog=65535)
        listener.setblocking(False)
        port = listener.getsockname()[1]
        listeners[listener.fileno()] = listener
        poller.register(listener, select.EPOLLIN)
    print(port, flush=True)

    connections: dict[int, socket.socket] = {}
    # All requests have the same delay, so the responses have the order of the requests.
    waiting: deque[tuple[float, socket.socket]] = deque()
    while True:
        for fd, _ in poller.poll(max(0.0, waiting[0][0] - time.monotonic()) if waiting else -1):
            if fd in listeners:
                for _ in range(AT_ONCE):
                    try:
                        connection, _ = listeners[fd].accept()
                    except BlockingIOError:
                        break
                    connection.setblocking(False)
                    connections[connection.fileno()] = connection
                    poller.register(connection, select.EPOLLIN)
                continue
            try:
                data = connections[fd].recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                poller.unregister(fd)
                connections.pop(fd).close()
            elif data.endswith(b"\r\n\r\n"):
                waiting.append((time.monotonic() + delay, connections[fd]))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, connection = waiting.popleft()
            if connection.fileno() != -1:
                # The next recv detects the error.
                with suppress(ConnectionError):
                    connection.send(RESPONSE)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
