"""The network that benchmarks run over does to packets what it was told, and nothing else."""

import hashlib
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab import REPOSITORY, Lab, Namespace, run, wait_until

sys.path.insert(0, str(REPOSITORY / "Tests/Support"))

from wan import Line, Wan, WanError  # noqa: E402

PORT = 7000
TOS_KEPT_OVER = 13  # IP_RECVTOS
IPV6_RECVTCLASS = 66
# A busy machine spoils one measurement or another; what is wrong shows in all of them.
MEASUREMENTS_MAX = 6
DEVIATIONS = 5  # Of a binomial count: a false alarm in two million runs.


class Site:
    """A network between two namespaces of a laboratory, with sockets at both ends."""

    def __init__(self, lab: Lab, up: Line = Line(), down: Line = Line(), **options):
        self.branch, self.hq = lab.namespace(), lab.namespace()
        self.wan = lab.closing.enter_context(
            Wan(up, down, branch=self.branch.name, hq=self.hq.name, **options))

    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """Returns a connected UDP socket of the branch and one of headquarters, which answer."""
        here = self.branch.socket(socket.AF_INET, socket.SOCK_DGRAM)
        there = self.hq.socket(socket.AF_INET, socket.SOCK_DGRAM)
        here.bind((Wan.BRANCH_ADDRESS, PORT))
        there.bind((Wan.HQ_ADDRESS, PORT))
        here.connect((Wan.HQ_ADDRESS, PORT))
        there.connect((Wan.BRANCH_ADDRESS, PORT))
        return here, there


@pytest.fixture
def site(lab):
    """Makes the test's network; the laboratory removes it."""
    return lambda *lines, **options: Site(lab, *lines, **options)


def numbered(number: int) -> bytes:
    return struct.pack("!IQ", number, time.monotonic_ns())


def carry(sender: socket.socket, receiver: socket.socket, count: int, pause: float = 0.0005,
          quiet_seconds: float = 1) -> list[tuple[int, float]]:
    """Sends numbered packets; returns (number, seconds under way) of what came, as it came."""
    came, is_sent = [], threading.Event()

    def receive():
        for packet in until_quiet(receiver, quiet_seconds, is_sent):
            number, sent = struct.unpack("!IQ", packet[:12])
            came.append((number, (time.monotonic_ns() - sent) / 1e9))

    thread = threading.Thread(target=receive)
    thread.start()
    for number in range(count):
        sender.send(numbered(number))
        time.sleep(pause)
    is_sent.set()
    thread.join(60)
    assert not thread.is_alive()
    return came


def until_quiet(receiver: socket.socket, quiet_seconds: float, is_sent: threading.Event):
    """Yields packets until none has come for a while after all were sent."""
    receiver.settimeout(quiet_seconds)
    is_last = False
    while True:
        try:
            yield receiver.recv(2048)
        except TimeoutError:
            if is_last:
                return
            # Nothing may have come just because nothing was sent.
            is_last = is_sent.is_set()


def is_share(count: int, of: int, share: float) -> bool:
    """Tells whether a count fits draws that each hit with probability `share`."""
    deviation = (of * share * (1 - share)) ** 0.5
    return abs(count - of * share) <= DEVIATIONS * deviation


def test_each_direction_has_the_delay_asked_for(site):
    wan_site = site(delay_ms=(10, 30))
    here, there = wan_site.sockets()
    for sender, receiver, seconds in ((here, there, 0.010), (there, here, 0.030)):
        for _ in range(MEASUREMENTS_MAX):
            delays = sorted(delay for _, delay in carry(sender, receiver, 200, pause=0.002))
            assert len(delays) == 200
            # No packet is early; the quickest shows the delay apart from this machine's load.
            assert seconds <= delays[0]
            if delays[0] < seconds + 0.002 and delays[100] < seconds + 0.010:
                break
        assert delays[0] < seconds + 0.002 and delays[100] < seconds + 0.010, delays[::50]


def test_ipv6_passes_with_the_same_delay(site):
    wan_site = site(delay_ms=5)
    answer = wan_site.branch.run("ping", "-c", "5", "-i", "0.05", Wan.HQ_ADDRESS6).stdout
    times = [float(line.split("time=")[1].split()[0])
             for line in answer.splitlines() if "time=" in line]
    # A way without the delay takes 5 ms off, one that has it twice adds 5 ms.
    assert len(times) == 5 and 10 <= min(times) < 15


def test_the_share_asked_for_is_lost_in_its_direction_only(site):
    wan_site = site(delay_ms=1, loss=(0.1, 0), seed=3)
    here, there = wan_site.sockets()
    came = carry(here, there, 4000, pause=0.0001)
    assert is_share(4000 - len(came), 4000, 0.1)
    counts = wan_site.wan.statistics()["up"]
    assert counts["packets_in"] == 4000
    assert counts["lost"] == 4000 - len(came)
    assert counts["dropped_full"] == counts["dropped_write"] == 0
    assert len(carry(there, here, 1000, pause=0.0001)) == 1000


def test_the_same_seed_loses_the_same_packets(lab):
    lost = []
    for seed in (7, 7, 8):
        wan_site = Site(lab, delay_ms=1, loss=0.2, seed=seed)
        here, there = wan_site.sockets()
        came = {number for number, _ in carry(here, there, 500, pause=0.0002)}
        lost.append(set(range(500)) - came)
        wan_site.wan.close()
    assert lost[0] == lost[1]
    assert lost[0] != lost[2]


def captured(namespace: Namespace, kind: int = 0x0003) -> socket.socket:
    """Returns a socket that sees every packet of the namespace's device wan0 from its IP header."""
    made = namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    with namespace.entered():
        made.bind(("wan0", kind))
    made.settimeout(30)
    return made


def ipv4(traffic_class: int, identification: int, payload: bytes) -> bytes:
    addresses = socket.inet_aton(Wan.BRANCH_ADDRESS) + socket.inet_aton(Wan.HQ_ADDRESS)
    return struct.pack("!BBHHHBBH", 0x45, traffic_class, 20 + len(payload), identification,
                       0x4000, 33, 253, 0) + addresses + payload


def test_nothing_of_a_packet_changes_but_its_hop_count(site):
    wan_site = site(delay_ms=1)
    raw = wan_site.branch.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    seen = captured(wan_site.hq, 0x0800)
    sent = {}
    for traffic_class in range(256):  # Each DSCP with each ECN.
        payload = os.urandom(traffic_class * 5)
        sent[traffic_class] = ipv4(traffic_class, 1000 + traffic_class, payload)
        raw.sendto(sent[traffic_class], (Wan.HQ_ADDRESS, 0))
    received = {}
    while len(received) < 256:
        packet = seen.recv(4096)
        if packet[9] == 253:
            received[packet[1]] = packet
    for traffic_class, packet in sent.items():
        came = received[traffic_class]
        assert came[8] == 31  # Routed twice, by the kernel at either side of the relay.
        # All but the hop count and the checksum over it, which the sending kernel filled in.
        assert came[:8] + came[9:10] + came[12:] == packet[:8] + packet[9:10] + packet[12:]


def test_the_traffic_class_of_ipv6_is_kept(site):
    wan_site = site(delay_ms=1)
    here = wan_site.branch.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    there = wan_site.hq.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    there.bind((Wan.HQ_ADDRESS6, PORT))
    there.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
    for traffic_class in (0, 1, 2, 0x48, 0x4A, 0x68, 0xB8, 0xFE):
        here.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, traffic_class)
        here.sendto(b"", (Wan.HQ_ADDRESS6, PORT))
        _, ancillary, _, _ = there.recvmsg(64, 64)
        assert [struct.unpack("i", value)[0] for _, _, value in ancillary] == [traffic_class]


def test_the_share_asked_for_of_capable_packets_is_marked(site):
    wan_site = site(delay_ms=1, ce=0.3, seed=5)
    here, there = wan_site.sockets()
    there.setsockopt(socket.IPPROTO_IP, TOS_KEPT_OVER, 1)
    for dscp_ecn, count in ((0x48, 500), (0x4A, 2000), (0x49, 500)):
        here.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp_ecn)
        classes = []
        for number in range(count):
            here.send(numbered(number))
            _, ancillary, _, _ = there.recvmsg(64, 64)
            classes.append(ancillary[0][2][0])
        marked = classes.count(0x4B)
        assert set(classes) <= {dscp_ecn, 0x4B}  # The DSCP stays.
        assert marked == 0 if dscp_ecn == 0x48 else is_share(marked, count, 0.3)


def test_jitter_keeps_the_order(site):
    wan_site = site(delay_ms=10, jitter_ms=8, seed=2)
    here, there = wan_site.sockets()
    came = carry(here, there, 2000, pause=0.0005)
    numbers = [number for number, _ in came]
    assert numbers == list(range(2000))
    delays = [delay for _, delay in came]
    assert min(delays) >= 0.002
    # A delay that only ever grew would have stopped to vary.
    halves = delays[:1000], delays[1000:]
    assert all(max(half) - min(half) > 0.004 for half in halves)


def test_jitter_disorders_where_it_is_asked_to(site):
    wan_site = site(delay_ms=10, jitter_ms=8, options=("--jitter-reorders",))
    here, there = wan_site.sockets()
    numbers = [number for number, _ in carry(here, there, 500, pause=0.0005)]
    assert sorted(numbers) == list(range(500))
    assert numbers != list(range(500))


def test_the_share_asked_for_is_overtaken(site):
    wan_site = site(delay_ms=5, reorder=0.1, reorder_by_ms=200, seed=4)
    here, there = wan_site.sockets()
    came = carry(here, there, 2000, pause=0.0005)
    assert len(came) == 2000
    overtaken, highest = 0, -1
    for number, _ in came:
        overtaken += number < highest
        highest = max(highest, number)
    assert is_share(overtaken, 2000, 0.1)
    # At the very end nothing is left to overtake a packet.
    assert wan_site.wan.statistics()["up"]["reordered"] - overtaken in range(0, 20)


def test_what_exceeds_the_memory_is_dropped_and_counted(site):
    wan_site = site(delay_ms=3000, options=("--queue-packets=100",))
    here, there = wan_site.sockets()
    came = carry(here, there, 300, pause=0.0001, quiet_seconds=4)
    assert [number for number, _ in came] == list(range(100))
    counts = wan_site.wan.statistics()["up"]
    assert (counts["dropped_full"], counts["queued_max"], counts["queued"]) == (200, 100, 0)


def test_large_frames_are_cut_before_the_relay(site):
    wan_site = site(delay_ms=2)
    with wan_site.hq.entered():
        listener = socket.create_server((Wan.HQ_ADDRESS, PORT))
    listener.settimeout(30)
    text = os.urandom(4 << 20)

    def send():
        with wan_site.branch.entered():
            connection = socket.create_connection((Wan.HQ_ADDRESS, PORT), 30)
        with connection:
            connection.sendall(text)

    thread = threading.Thread(target=send)
    thread.start()
    connection, _ = listener.accept()
    connection.settimeout(30)
    received = hashlib.sha256()
    with connection, listener:
        while piece := connection.recv(1 << 18):
            received.update(piece)
    thread.join(30)
    assert received.digest() == hashlib.sha256(text).digest()
    counts = wan_site.wan.statistics()["up"]
    assert counts["packets_in"] >= len(text) / 1448
    assert counts["bytes_in"] <= counts["packets_in"] * 1500


def test_a_line_has_its_rate_and_its_queue(site):
    wan_site = site(Line(8_000_000, queue_bytes=100_000), delay_ms=1)
    here, there = wan_site.sockets()
    delays, received, sent, is_sent = [], 0, 0, threading.Event()

    def receive():
        nonlocal received
        for packet in until_quiet(there, 1, is_sent):
            received += len(packet) + 28
            delays.append((time.monotonic_ns() - struct.unpack("!Q", packet[:8])[0]) / 1e9)

    thread = threading.Thread(target=receive)
    thread.start()
    began = latest = time.monotonic()
    longest_pause = 0.0
    while time.monotonic() - began < 2:  # About twice what the line carries.
        longest_pause = max(longest_pause, time.monotonic() - latest)
        latest = time.monotonic()
        for _ in range(2):
            here.send(struct.pack("!Q", time.monotonic_ns()) + bytes(992))
            sent += 1
        time.sleep(0.001)
    seconds = time.monotonic() - began
    is_sent.set()
    thread.join(30)
    assert not thread.is_alive()
    offered = sent * 1028
    counts = wan_site.wan.line_counts("up")
    assert counts["dropped"] == sent - len(delays)
    assert counts["sent_bytes"] - received in range(0, 300)  # The device's own multicast.
    # A machine too busy to overload the line all the time shows less: the queue is 100 ms long.
    if offered * 8 > 10_000_000 * seconds and longest_pause < 0.05:
        assert counts["dropped"] > 0
        # 100 kB at 8 Mbit/s are 100 ms.
        assert 0.09 < max(delays) and statistics.median(delays) < 0.2
        assert 0.9 < (received - 100_000) * 8 / 8_000_000 / seconds < 1.1
    wan_site.wan.set_line("up", Line(None))
    assert len(carry(here, there, 100)) == 100


def test_nothing_is_left_behind(lab):
    wan_site = Site(lab, delay_ms=1)
    own = wan_site.wan.wan
    relay = wan_site.wan.pid
    assert own in run("ip", "netns", "list").stdout
    wan_site.wan.close()
    assert own not in run("ip", "netns", "list").stdout
    assert not Path(f"/proc/{relay}").exists()
    assert wan_site.wan.final_statistics["up"]["packets_in"] == 0
    assert {wan_site.branch.name, wan_site.hq.name} <= set(
        word for line in run("ip", "netns", "list").stdout.splitlines() for word in line.split())


def test_the_relay_ends_with_who_started_it(lab):
    script = ("import sys, time; sys.path.insert(0, sys.argv[1]); from wan import Wan\n"
              "wan = Wan(branch=sys.argv[2], hq=sys.argv[3]).open()\n"
              "print(wan.pid, wan.wan, flush=True); time.sleep(60)")
    spaces = [lab.namespace().name, lab.namespace().name]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(REPOSITORY / "Tests/Support"), *spaces],
        stdout=subprocess.PIPE, text=True)
    pid, name = process.stdout.readline().split()
    lab.closing.callback(run, "ip", "netns", "del", name)
    process.kill()
    process.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "the relay ends")


@pytest.mark.parametrize("options", [
    ("--loss=1.5",), ("--delay-ms=-1",), ("--jitter-ms=50",), ("--ce=1,2,3",), ("--loss=nan",),
    ("--queue-packets=0",), ("--hq-device=relay-branch",), ("--branch-device=much-too-long-a-name",),
])
def test_what_cannot_be_is_refused_with_a_reason(lab, options):
    with pytest.raises(WanError, match=r"(?s)ended with \d+: .*\w"):
        Wan(branch=lab.namespace().name, hq=lab.namespace().name, options=options).open()
