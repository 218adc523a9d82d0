"""Streams keep their timing beside uploads, lines are used to their rate, and marks are seen."""

import os
import socket
import statistics
import struct
import threading
import time

import pytest

from lab import Daemon, branchlined, wait_until
from test_upgrade import upgrade
from traffic import Worker, tcp_connection
from tunnel import End, Tunnel, echo, make_tunnel
from wiretap import DATA, Wiretap

pytestmark = pytest.mark.branchline_only

RATE = 20_000_000
SHARE = 0.95
ETHERNET_BYTES = 14
# A busy machine spoils one measurement or another; what is wrong shows in all of them.
MEASUREMENTS_MAX = 6
# A TCP segment of this tunnel's MTU with time stamps, and what it takes of an Ethernet line.
SEGMENT_BYTES = 1420 - 40 - 12
SEGMENT_WIRE_BYTES = 1420 + 32 + 28 + ETHERNET_BYTES
AF21, AF12, EF, LE = 18, 12, 46, 1
# A machine that also builds something may be late.
DELAY_SECONDS_MAX = float(os.environ.get("BRANCHLINE_QOS_SECONDS_MAX", "0.03"))


def build(lab, workers: str = "1") -> Tunnel:
    environment = {"BRANCHLINE_WORKERS": workers}
    tunnel = make_tunnel(
        lab, branchlined(), branchlined(), initiator="subject",
        subject_environment=environment, other_environment=environment)
    tunnel.passes()
    return tunnel


def set_qos(daemon: Daemon, *lines: str):
    answer = daemon.ask("set_qos=1\n" + "".join(f"{line}\n" for line in lines) + "\n")
    assert answer == "errno=0\n\n", f"{lines}: {answer!r}"


def qos(daemon: Daemon) -> dict:
    """Returns the status; classes and paths by their names."""
    whole: dict = {"classes": {}, "paths": {}}
    part = whole
    for line in daemon.ask("qos=1\n\n").splitlines():
        key, _, value = line.partition("=")
        if key == "class":
            part = whole["classes"].setdefault(value, {})
        elif key == "path":
            part = whole["paths"].setdefault(value.split()[0], {})
        elif key == "measure":
            part = {}
        elif key:
            part[key] = value
    assert whole.pop("errno", part.get("errno")) == "0", whole
    return whole


class Uploads:
    """TCP connections that send as much as they can until the block ends."""

    def __init__(self, source: End, target: End, count: int, port_bytes: int = 1 << 16):
        self.pairs = [tcp_connection(source, target) for _ in range(count)]
        self.received = 0
        self._stop, self._lock, self._block = threading.Event(), threading.Lock(), port_bytes

    def __enter__(self) -> "Uploads":
        self.workers = [Worker(self._send, client) for client, _ in self.pairs]
        self.workers += [Worker(self._receive, server) for _, server in self.pairs]
        return self

    def __exit__(self, *_):
        self._stop.set()
        for worker in self.workers:
            worker.result()
        for pair in self.pairs:
            for end in pair:
                end.close()

    def _send(self, client: socket.socket):
        block = os.urandom(self._block)
        client.settimeout(0.2)
        while not self._stop.is_set():
            try:
                client.send(block)
            except TimeoutError:
                continue

    def _receive(self, server: socket.socket):
        server.settimeout(0.2)
        while not self._stop.is_set():
            try:
                count = len(server.recv(1 << 18))
            except TimeoutError:
                continue
            with self._lock:
                self.received += count

    def rate(self, seconds: float) -> float:
        """Returns the bits of payload per second that arrive from now on."""
        before, started = self.received, time.monotonic()
        time.sleep(seconds)
        return (self.received - before) * 8 / (time.monotonic() - started)


def received_bytes(end: End) -> int:
    """Returns how much has come in at the outer device, with Ethernet headers."""
    return int(end.namespace.run("cat", "/sys/class/net/veth0/statistics/rx_bytes").stdout)


def delays(source: End, target: End, seconds: float) -> list[float]:
    """Returns what small datagrams, every 20 ms, took there and back."""
    taken = []
    with source.bind() as client, target.bind() as server:
        def answer():
            server.settimeout(0.2)
            while not stop.is_set():
                try:
                    data, origin = server.recvfrom(200)
                except TimeoutError:
                    continue
                server.sendto(data, origin)

        stop, client_address = threading.Event(), server.getsockname()
        worker, due, ends = Worker(answer), time.monotonic(), time.monotonic() + seconds
        client.settimeout(30)
        number = 0
        while due < ends:
            number += 1
            sent = time.monotonic()
            client.sendto(struct.pack("<Q", number) + bytes(92), client_address)
            while struct.unpack_from("<Q", client.recv(200))[0] != number:
                pass
            taken.append(time.monotonic() - sent)
            due = max(due + 0.02, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0))
        stop.set()
        worker.result()
    return taken


def behind_modem(end: End):
    """Lets what leaves go through a line with a deep FIFO, as modems have."""
    end.namespace.run(
        "tc", "qdisc", "add", "dev", "veth0", "root", "tbf", "rate", f"{RATE}bit",
        "burst", "3200", "limit", "1000000")


@pytest.mark.parametrize("flows", [1, 4])
def test_line_is_used_to_its_rate_and_no_further(lab, flows):
    tunnel = build(lab)
    set_qos(tunnel.subject.daemon, f"link={RATE} {ETHERNET_BYTES}")
    with Uploads(tunnel.subject, tunnel.other, flows) as uploads:
        time.sleep(2)
        shaped = RATE * SHARE
        for _ in range(MEASUREMENTS_MAX):
            started, before = time.monotonic(), int(qos(tunnel.subject.daemon)["link_wire_bytes"])
            crossed = -received_bytes(tunnel.other)
            used = uploads.rate(5) * SEGMENT_WIRE_BYTES / SEGMENT_BYTES
            crossed += received_bytes(tunnel.other)
            status, seconds = qos(tunnel.subject.daemon), time.monotonic() - started
            counted = (int(status["link_wire_bytes"]) - before) * 8 / seconds
            crossed *= 8 / seconds
            if min(used, counted) >= 0.97 * shaped and max(crossed, counted) <= 1.005 * shaped:
                break
    # A lost segment holds back what has come after it: at the end more may be read than crossed.
    assert 0.97 * shaped <= used, f"{used / 1e6:.2f} Mbit/s arrived"
    assert crossed <= 1.005 * shaped, f"{crossed / 1e6:.2f} Mbit/s crossed the wire"
    assert 0.97 * shaped <= counted <= 1.005 * shaped, f"{counted / 1e6:.2f} Mbit/s counted"
    bulk = status["classes"]
    assert sum(int(one.get("early_drops", 0)) + int(one.get("marks", 0))
               for one in bulk.values()) > 0, "CoDel keeps the queue short"


def test_small_packets_do_not_wait_behind_uploads(lab):
    tunnel = build(lab)
    behind_modem(tunnel.subject)
    with Uploads(tunnel.subject, tunnel.other, 4):
        time.sleep(3)
        plain = delays(tunnel.subject, tunnel.other, 3)
        set_qos(tunnel.subject.daemon, f"link={RATE} {ETHERNET_BYTES}")
        time.sleep(3)
        for _ in range(MEASUREMENTS_MAX):
            shaped = delays(tunnel.subject, tunnel.other, 5)
            if (statistics.quantiles(shaped, n=20)[-1] < DELAY_SECONDS_MAX
                    and statistics.median(shaped) < DELAY_SECONDS_MAX / 2):
                break
    words = [f"{statistics.median(d) * 1000:.1f} ms, {max(d) * 1000:.1f} ms at most"
             for d in (plain, shaped)]
    assert statistics.median(plain) > 0.02, f"the modem's FIFO is not there: {words}"
    assert statistics.quantiles(shaped, n=20)[-1] < DELAY_SECONDS_MAX, words
    assert statistics.median(shaped) < DELAY_SECONDS_MAX / 2, words


def test_line_of_a_peer_is_its_own(lab):
    tunnel = build(lab, workers="2")
    key = tunnel.other.key.public.hex()
    set_qos(tunnel.subject.daemon, f"public_key={key}", f"link={RATE} {ETHERNET_BYTES}")
    with Uploads(tunnel.subject, tunnel.other, 2) as uploads:
        time.sleep(2)
        for _ in range(MEASUREMENTS_MAX):
            used = uploads.rate(4) * SEGMENT_WIRE_BYTES / SEGMENT_BYTES
            if 0.97 * RATE * SHARE <= used <= 1.005 * RATE * SHARE:
                break
        path = qos(tunnel.subject.daemon)["paths"][key]
    assert 0.97 * RATE * SHARE <= used <= 1.005 * RATE * SHARE, f"{used / 1e6:.2f} Mbit/s"
    assert int(path["wire_bytes"]) > 4 * RATE * SHARE / 8 * 0.9


def outer_marks(tunnel: Tunnel, mark: int = 0) -> set[int]:
    """Returns the outer DSCPs of datagrams that carry packets of this inner DSCP."""
    with Wiretap(tunnel.other.namespace) as tap, tunnel.subject.bind() as client, \
            tunnel.other.bind() as server:
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, mark << 2)
        for number in range(5):
            client.sendto(bytes([number]) * 500, server.getsockname())
            assert len(server.recv(1000)) == 500
        return {d.traffic_class >> 2 for d in tap.datagrams()
                if d.kind == DATA and d.source == tunnel.subject.outer()
                and len(d.payload) > 500}


def test_outer_header_has_the_mark_that_policy_says(lab):
    tunnel = build(lab)
    daemon, service = tunnel.subject.daemon, f"* {tunnel.other.inner()}/32 *"
    assert outer_marks(tunnel, EF) == {0}, "off is the standard"
    set_qos(daemon, "outer_marking=copy")
    assert outer_marks(tunnel, EF) == {EF}
    for trafficClass, mark in (("token", AF21), ("bulk", AF12), ("background", LE)):
        set_qos(daemon, "outer_marking=class", f"service={service} {trafficClass} all")
        assert outer_marks(tunnel, EF) == {mark}
    assert int(qos(daemon)["classes"]["bulk"]["outer_marked"]) >= 5
    set_qos(daemon, "outer_marking=class", f"service={service} bulk all",
            f"public_key={tunnel.other.key.public.hex()}", "outer_marking=off")
    assert outer_marks(tunnel, EF) == {0}
    set_qos(daemon)
    assert outer_marks(tunnel, EF) == {0}


def inner_mark(tunnel: Tunnel, mark: int) -> int:
    """Returns the DSCP with which a packet that left with `mark` arrives."""
    with tunnel.subject.bind() as client, tunnel.other.bind() as server:
        server.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, mark << 2)
        client.sendto(b"m" * 100, server.getsockname())
        _, control, _, _ = server.recvmsg(1000, 100)
        return control[0][2][0] >> 2


def test_peer_claims_no_more_than_its_ceiling(lab):
    tunnel = build(lab)
    assert inner_mark(tunnel, EF) == EF
    set_qos(tunnel.other.daemon, f"public_key={tunnel.subject.key.public.hex()}", "ceiling=bulk")
    assert inner_mark(tunnel, EF) == AF12
    assert inner_mark(tunnel, LE) == LE
    assert inner_mark(tunnel, 0) == 0
    set_qos(tunnel.subject.daemon, "mark_inner=true",
            f"service=* {tunnel.other.inner()}/32 * background all")
    assert inner_mark(tunnel, EF) == LE


def test_flows_are_told_over_the_socket(lab):
    tunnel = build(lab)
    client, server = tcp_connection(tunnel.subject, tunnel.other)
    with client, server:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.recv(1000)
        port = client.getsockname()[1]
        for end in tunnel.ends:
            answer = end.daemon.ask(f"flows=1\naddress={tunnel.subject.inner()}\nport={port}\n\n")
            assert answer.endswith("errno=0\n\n")
            assert str(port) in answer, answer
            assert int(qos(end.daemon)["flows"]) > 0


def test_upgrade_keeps_settings_and_counts(lab):
    tunnel = build(lab)
    daemon, key = tunnel.subject.daemon, tunnel.other.key.public.hex()
    set_qos(daemon, f"link={RATE} {ETHERNET_BYTES}", f"public_key={key}", "ceiling=bulk")
    assert inner_mark(tunnel, 0) == 0
    before = qos(daemon)
    assert int(before["classes"]["bulk"]["packets"]) > 0
    upgrade(tunnel.subject)
    after = qos(daemon)
    assert after["link"] == before["link"] == f"{RATE} {ETHERNET_BYTES}"
    assert int(after["classes"]["bulk"]["packets"]) >= int(before["classes"]["bulk"]["packets"])
    echo(tunnel.subject, tunnel.other)
    assert int(qos(daemon)["classes"]["bulk"]["packets"]) > int(
        before["classes"]["bulk"]["packets"])


def test_settings_change_under_load(lab):
    """Nobody is cut off while lines come, change and go."""
    tunnel = build(lab, workers="2")
    key = tunnel.other.key.public.hex()
    with Uploads(tunnel.subject, tunnel.other, 2) as uploads:
        for rate in (5_000_000, 100_000_000, 1_000_000, 2_000_000_000, 20_000_000):
            set_qos(tunnel.subject.daemon, f"link={rate} 14")
            time.sleep(0.4)
            set_qos(tunnel.subject.daemon, f"public_key={key}", f"link={rate} 14")
            time.sleep(0.4)
        set_qos(tunnel.subject.daemon)
        time.sleep(1)
        wait_until(lambda: uploads.rate(2) > RATE, 10, "more than the line carried")
    echo(tunnel.subject, tunnel.other)


def test_refused_settings_change_nothing(lab):
    tunnel = build(lab)
    set_qos(tunnel.subject.daemon, f"link={RATE} 14")
    for line in ("link=0 14", "link=fast 14", "weight=control 3", "colour=red"):
        answer = tunnel.subject.daemon.ask(f"set_qos=1\n{line}\n\n")
        assert "errno=0\n" not in answer, line
    assert qos(tunnel.subject.daemon)["link"] == f"{RATE} 14"
