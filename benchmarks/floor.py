"""Raw pycurl with the least Python: the lower limit of the cost of a client on libcurl.

It has no futures, no request or response objects, and no headers. It configures its handles once
and reuses them with `CurlMulti.socket_action` and epoll.
"""

from __future__ import annotations

import select
import time
from io import BytesIO
from itertools import cycle, islice
from typing import Any

import pycurl

from .measure import Tally, measure
from .workloads import Job

_EVENTS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


class Floor:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.poller = select.epoll()
        self.watched: set[int] = set()
        self.timer: float | None = None
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self.watch)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self.set_timer)
        self.spare: list[Any] = []

    def handle(self, url: str) -> Any:
        job, curl = self.job, pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.CAINFO, job.ca)
        curl.setopt(pycurl.TIMEOUT_MS, int(job.timeout * 1000))
        if job.body is not None:
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDS, job.body)
        if not job.kept:
            curl.setopt(pycurl.FORBID_REUSE, 1)
        return curl

    def watch(self, what: int, fd: int, multi: object, data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            if fd in self.watched:
                self.watched.discard(fd)
                self.poller.unregister(fd)
        elif fd in self.watched:
            self.poller.modify(fd, _EVENTS[what])
        else:
            self.watched.add(fd)
            self.poller.register(fd, _EVENTS[what])

    def set_timer(self, milliseconds: int) -> None:
        self.timer = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def load(self, seconds: float, requests: int) -> Tally:
        tally, multi = Tally(self.job), self.multi
        end = time.perf_counter() + seconds
        left, running = requests, 0

        def start(curl: Any) -> None:
            nonlocal left, running
            left -= 1
            running += 1
            curl.buffer = BytesIO()
            curl.setopt(pycurl.WRITEDATA, curl.buffer)
            multi.add_handle(curl)

        def finished(curl: Any) -> None:
            nonlocal running
            running -= 1
            multi.remove_handle(curl)
            if left and time.perf_counter() < end:
                start(curl)
            else:
                self.spare.append(curl)

        for url in islice(cycle(self.job.urls), min(self.job.in_flight, requests)):
            start(self.spare.pop() if self.spare else self.handle(url))
        while running:
            wait = -1.0 if self.timer is None else max(0.0, self.timer - time.monotonic())
            for fd, events in self.poller.poll(wait):
                action = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0
                if events & select.EPOLLOUT:
                    action |= pycurl.CSELECT_OUT
                multi.socket_action(fd, action)
            if self.timer is not None and self.timer <= time.monotonic():
                self.timer = None
                multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            more = True
            while more:
                more, done, failed = multi.info_read()
                for curl in done:
                    tally.answer(curl.getinfo(pycurl.RESPONSE_CODE), len(curl.buffer.getvalue()))
                    finished(curl)
                for curl, _, message in failed:
                    tally.fail(message)
                    finished(curl)
        return tally


def run(job: Job) -> dict[str, Any]:
    return measure(job, Floor(job).load)
