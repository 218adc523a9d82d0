"""A slow way between two ends, without a kernel that has netem."""

import heapq
import itertools
import select
import socket
import threading
import time

from tunnel import End


class Relay:
    """Carries datagrams between two ends and holds each for some time, in order.

    It runs in the second end's namespace: the first end knows the second as `outside`, the second
    knows the first as `inside`.
    """

    def __init__(self, lab, first: End, second: End, seconds: float):
        self._seconds = seconds
        self._outside = self._socket(second, second.outer())
        self._inside = self._socket(second, "127.0.0.1")
        self._ways = {
            self._outside: (self._inside, ("127.0.0.1", second.port)),
            self._inside: (self._outside, (first.outer(), first.port)),
        }
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        lab.closing.callback(self._close)

    @staticmethod
    def _socket(end: End, address: str) -> socket.socket:
        made = end.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        return made

    @property
    def outside(self) -> str:
        return "{}:{}".format(*self._outside.getsockname())

    @property
    def inside(self) -> str:
        return "{}:{}".format(*self._inside.getsockname())

    def _run(self):
        waiting, serial = [], itertools.count()
        while not self._is_closing.is_set():
            pause = min(waiting[0][0] - time.monotonic(), 0.1) if waiting else 0.1
            for ready in select.select(list(self._ways), [], [], max(pause, 0))[0]:
                due = time.monotonic() + self._seconds
                heapq.heappush(waiting, (due, next(serial), ready, ready.recv(1 << 16)))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, came_by, datagram = heapq.heappop(waiting)
                leaves_by, target = self._ways[came_by]
                leaves_by.sendto(datagram, target)

    def _close(self):
        self._is_closing.set()
        self._thread.join(2)
        for made in self._ways:
            made.close()
