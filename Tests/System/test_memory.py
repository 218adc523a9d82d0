"""Nothing is allocated per packet once the tunnel is warm."""

import mmap
import os
import struct
import subprocess
import sys
import time

import pytest

from lab import branchlined
from pairs import OWN, WORKERS, each
from traffic import tcp_transfer, udp_sizes
from tunnel import End, outer_link

ALLOCATIONS_MAX = 300
# Merged packets count once, and how many merge depends on how busy the machine is.
PACKETS_MIN = 50 * ALLOCATIONS_MAX
RESIDENT_MAX = 40 << 20


class AllocationCount:
    """Reads what allocations.c counts in another process while that runs."""

    def __init__(self, lab, name: str = "count"):
        self.library = lab.compile("../AllocationCounter/allocations.c", "-shared", "-fPIC")
        self.path = lab.folder / name
        self.path.write_bytes(bytes(4096))
        self._file = open(self.path, "rb")
        self._page = mmap.mmap(self._file.fileno(), 4096, prot=mmap.PROT_READ)
        lab.closing.callback(self._file.close)
        lab.closing.callback(self._page.close)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that make it count."""
        return ("env", f"LD_PRELOAD={self.library}", f"ALLOCATION_COUNT={self.path}")

    def calls(self) -> int:
        return struct.unpack_from("<Q", self._page)[0]


def test_counter_counts(lab):
    """The measuring instrument itself: 1,000 allocations more are seen as such."""
    counter, results = AllocationCount(lab), []
    for count in (0, 1000):
        program = f"import ctypes; m = ctypes.CDLL(None).malloc\nfor _ in range({count}): m(7)"
        subprocess.run([*counter.prefix, sys.executable, "-c", program], check=True)
        results.append(counter.calls())
        counter.path.open("r+b").write(bytes(16))
    # The interpreter's own allocations vary a little with the text of the program.
    assert 900 < results[1] - results[0] < 1100, results


@pytest.mark.branchline_only
@each([OWN[0], *WORKERS[1:]])
def test_steady_state_allocates_nothing_per_packet(lab, pair):
    """A Go program has an allocator of its own, which no preloaded library sees."""
    counter = AllocationCount(lab)
    one, two = lab.namespace(), lab.namespace()
    outer_link(lab, one, two)
    environment = {"BRANCHLINE_WORKERS": pair.workers} if pair.workers else {}
    environment["LOG_LEVEL"] = "error"
    subject = End(one, lab.daemon(
        one, branchlined(), prefix=counter.prefix, environment=environment), 1).start()
    other = End(two, lab.daemon(two, branchlined(), environment=environment), 2).start()
    subject.add_peer(other, endpoint=other.endpoint())
    other.add_peer(subject, endpoint=subject.endpoint())
    assert counter.calls() > 0, "the daemon does not run under the counter"

    def traffic(byte_count: int):
        for family in (4, 6):
            tcp_transfer(subject, other, byte_count, family, is_duplex=True)
            udp_sizes(subject, other, [*range(0, 1500, 2)] * 2, family)
            udp_sizes(other, subject, [64] * 2000, family)
        blast(subject, other, 30_000)
        blast(other, subject, 30_000)

    traffic(30_000_000)
    before, packets = counter.calls(), packets_of(subject)
    traffic(60_000_000)
    grown, moved = counter.calls() - before, packets_of(subject) - packets
    print(f"{grown} allocations for {moved} packets of the TUN device")
    assert moved > PACKETS_MIN
    assert grown < ALLOCATIONS_MAX, f"{grown} allocations for {moved} packets"


def packets_of(end: End) -> int:
    """Returns the TUN device's packets both ways; merged ones count once."""
    folder = f"/sys/class/net/{end.daemon.name}/statistics"
    return sum(map(int, end.namespace.run(
        "cat", f"{folder}/rx_packets", f"{folder}/tx_packets").stdout.split()))


def blast(source: End, target: End, count: int):
    """Sends small datagrams as fast as it can; what is lost does not matter here."""
    with target.bind() as server, source.bind() as client:
        for index in range(count):
            try:
                client.sendto(b"b" * 64, server.getsockname())
            except OSError:
                pass


@pytest.mark.branchline_only
def test_resident_memory_with_ten_peers_is_under_forty_megabytes(lab):
    """The issue's target; a Go runtime needs more, so wireguard-go is not held to it."""
    tunnel = OWN[0].build(lab)
    for index in range(9):
        tunnel.subject.daemon.set(
            f"public_key={os.urandom(32).hex()}", f"allowed_ip=10.90.{index}.0/24")
    tunnel.passes()
    tcp_transfer(tunnel.subject, tunnel.other, 100_000_000, is_duplex=True)
    resident = tunnel.subject.daemon.resident_bytes()
    print(f"{resident / 1e6:.1f} MB resident")
    assert resident < RESIDENT_MAX


@pytest.mark.branchline_only
def test_idle_peer_costs_at_most_six_kibibytes(lab):
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    add_peers(daemon, 0, 200)
    before = daemon.resident_bytes()
    add_peers(daemon, 200, 2200)
    per_peer = (daemon.resident_bytes() - before) / 2000
    print(f"{per_peer:.0f} bytes a peer")
    assert per_peer <= 6 << 10


def add_peers(daemon, first: int, last: int):
    for start in range(first, last, 100):
        lines = []
        for index in range(start, min(start + 100, last)):
            lines += [f"public_key={os.urandom(32).hex()}",
                      f"allowed_ip=10.{index >> 8}.{index & 255}.0/24"]
        daemon.set(*lines)
    time.sleep(0.2)


@pytest.mark.branchline_only
def test_peers_that_come_and_go_leave_no_memory_behind(lab):
    """A garbage collector returns memory when it likes, so wireguard-go is not held to this."""
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    sizes = []
    for _ in range(6):
        add_peers(daemon, 0, 500)
        daemon.set("replace_peers=true")
        sizes.append(daemon.resident_bytes())
    assert sizes[-1] - sizes[1] < 8 << 20, sizes
    assert daemon.get()["peers"] == []
