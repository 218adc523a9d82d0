"""Senders and receivers whose content is checked."""

import collections
import hashlib
import os
import socket
import struct
import threading
import time

from tunnel import End

BLOCK_BYTES = 1 << 20


class Worker(threading.Thread):
    """A thread whose failure is the failure of who joins it."""

    def __init__(self, body, *arguments):
        super().__init__(daemon=True)
        self.body, self.arguments = body, arguments
        self.value, self.error = None, None
        self.start()

    def run(self):
        try:
            self.value = self.body(*self.arguments)
        except BaseException as error:  # handed to the joining thread
            self.error = error

    def result(self, seconds: float = 120):
        self.join(seconds)
        assert not self.is_alive(), "still running"
        if self.error:
            raise self.error
        return self.value


def _send_all(connection: socket.socket, byte_count: int) -> str:
    """Sends blocks that all differ and returns their SHA-256."""
    digest, noise, sent = hashlib.sha256(), bytearray(os.urandom(BLOCK_BYTES)), 0
    while sent < byte_count:
        struct.pack_into("<Q", noise, 0, sent)
        piece = memoryview(noise)[: min(BLOCK_BYTES, byte_count - sent)]
        digest.update(piece)
        connection.sendall(piece)
        sent += len(piece)
    connection.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def _receive_all(connection: socket.socket) -> tuple[int, str]:
    digest, buffer, received = hashlib.sha256(), bytearray(BLOCK_BYTES), 0
    while count := connection.recv_into(buffer):
        digest.update(memoryview(buffer)[:count])
        received += count
    return received, digest.hexdigest()


def tcp_connection(source: End, target: End, family: int = 4) -> tuple:
    """Returns (client socket at `source`, server socket at `target`) of one connection."""
    with target.bind(family, socket.SOCK_STREAM) as listener:
        listener.listen()
        client = source.bind(family, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    for made in (client, server):
        made.settimeout(30)
    return client, server


def tcp_transfer(source: End, target: End, byte_count: int, family: int = 4,
                 is_duplex: bool = False) -> float:
    """Moves bytes from `source` to `target` (and back at once if duplex), compares SHA-256.

    Returns bytes per second of one direction.
    """
    client, server = tcp_connection(source, target, family)
    with client, server:
        started = time.monotonic()
        jobs = [(Worker(_send_all, client, byte_count), Worker(_receive_all, server))]
        if is_duplex:
            jobs.append((Worker(_send_all, server, byte_count), Worker(_receive_all, client)))
        for sending, receiving in jobs:
            sent = sending.result()
            assert receiving.result() == (byte_count, sent), "content differs"
        return byte_count / (time.monotonic() - started)


def datagram_content(byte_count: int, salt: int) -> bytes:
    """Returns bytes that name their own length, so that cuts and mixtures show."""
    seed = struct.pack("<II", byte_count, salt)
    return (hashlib.sha256(seed).digest() * (byte_count // 32 + 1))[:byte_count]


def udp_sizes(source: End, target: End, sizes, family: int = 4, salt: int = 0):
    """Sends one datagram of each size, a few in flight, each compared and echoed back.

    Order is not asked for: IP fragments show no ports, so that queues tell them from the whole
    datagrams of the same flow. SequenceFlow watches the order.
    """
    sizes = list(sizes)
    with target.bind(family) as server, source.bind(family) as client:
        client.settimeout(30)

        def serve():
            for _ in sizes:
                data, origin = server.recvfrom(1 << 16)
                assert data == datagram_content(len(data), salt), (
                    f"{len(data)} bytes arrived changed")
                server.sendto(data, origin)

        echoing, waiting = Worker(serve), collections.Counter()
        for size in sizes:
            client.sendto(datagram_content(size, salt), server.getsockname())
            waiting[size] += 1
            if waiting.total() > 8:
                _take_echo(client, waiting, salt)
        while waiting.total():
            _take_echo(client, waiting, salt)
        echoing.result()


def _take_echo(client: socket.socket, waiting: collections.Counter, salt: int):
    try:
        data = client.recv(1 << 16)
    except TimeoutError:
        raise AssertionError(f"no echo of {sorted(waiting.elements())} bytes") from None
    size = len(data)
    assert waiting[size] > 0, f"{size} bytes came back, {sorted(waiting.elements())} wait"
    assert data == datagram_content(size, salt), f"{size} bytes came back changed"
    waiting[size] -= 1


class SequenceFlow:
    """Numbered datagrams at a steady rate; tells what was lost, repeated or out of order."""

    def __init__(self, source: End, target: End, per_second: int, family: int = 4,
                 byte_count: int = 200):
        self.sent, self.arrived = 0, []
        self._stop = threading.Event()
        self._server, self._client = target.bind(family), source.bind(family)
        self._server.settimeout(0.5)
        self._byte_count, self._interval = byte_count, 1.0 / per_second
        self._receiving = Worker(self._receive)
        self._sending = Worker(self._send, self._server.getsockname())

    def _send(self, address):
        due = time.monotonic()
        filler = bytes(self._byte_count - 8)
        while not self._stop.is_set():
            self._client.sendto(struct.pack("<Q", self.sent) + filler, address)
            self.sent += 1
            due += self._interval
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            else:
                due = time.monotonic()

    def _receive(self):
        pauses = 0
        while True:
            try:
                data = self._server.recv(2048)
            except TimeoutError:
                pauses += self._stop.is_set()
                # What is under way on a busy machine is not lost.
                if pauses and (len(self.arrived) >= self.sent or pauses >= 10):
                    return
                continue
            self.arrived.append(struct.unpack_from("<Q", data)[0])

    def finish(self) -> tuple[int, int, int]:
        """Stops and returns the counts (lost, repeated, out of order)."""
        self._stop.set()
        self._sending.result()
        self._receiving.result()
        self._server.close()
        self._client.close()
        unique = set(self.arrived)
        late = sum(b < a for a, b in zip(self.arrived, self.arrived[1:]))
        return self.sent - len(unique), len(self.arrived) - len(unique), late


class Saturation:
    """A TCP flow that never ends by itself, with a byte counter to read in windows."""

    def __init__(self, source: End, target: End, family: int = 4):
        self.received = 0
        self._client, self._server = tcp_connection(source, target, family)
        cubic = b"cubic"
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cubic)
        self._is_stopped = False
        self._workers = [Worker(self._send), Worker(self._receive)]

    def _send(self):
        block = os.urandom(256 << 10)
        while not self._is_stopped:
            self._client.sendall(block)
        self._client.shutdown(socket.SHUT_WR)

    def _receive(self):
        buffer = bytearray(1 << 20)
        while count := self._server.recv_into(buffer):
            self.received += count

    def window(self, seconds: float) -> float:
        """Returns bytes per second over the next `seconds`."""
        began, before = time.monotonic(), self.received
        time.sleep(seconds)
        return (self.received - before) / (time.monotonic() - began)

    def stop(self):
        self._is_stopped = True
        for worker in self._workers:
            worker.result()
        self._client.close()
        self._server.close()
