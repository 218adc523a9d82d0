"""What probes between our own nodes find out: times, loss, and how much a path carries."""

import contextlib
import re
import socket
import statistics
import struct
import time

import pytest

from lab import branchlined, wait_until
from packets import checksum, ipv4
from relay import Relay
from test_qos import Uploads, delays, qos, set_qos
from traffic import Worker, tcp_connection, tcp_transfer
from tunnel import LISTEN_PORT, MTU, End, Star, echo, make_tunnel, outer_link
from wiretap import Wiretap

pytestmark = pytest.mark.branchline_only

AES, CHACHA = "branchline-aes256gcm", "branchline-chacha20poly1305"
IP_AND_UDP_BYTES, MESSAGE_BYTES = 28, 32
PROBE_BYTES, ANSWER_BYTES = 48, 96


def ours(lab, profile: str = AES, **options):
    return make_tunnel(
        lab, branchlined(), branchlined(), profiles=(profile, profile), **options)


def path(end) -> dict[str, str]:
    """Returns what an end tells of the path to its only peer."""
    return {key.removeprefix("path_"): value for key, value in end.daemon.status().items()
            if key.startswith("path_")}


def await_mtu(end, expected: range, seconds: float = 10):
    def is_there():
        now = path(end)
        return now.get("mtu_confirmed") == "true" and int(now["mtu"]) in expected
    try:
        wait_until(is_there, seconds, f"a path MTU in {expected}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {path(end)}") from None


def sends_single_datagrams(end):
    """Has trains of datagrams cut before they leave, so that a filter sees each by itself."""
    end.namespace.configure("link set veth0 gso_max_segs 1")


class BlackHole:
    """Lets nothing longer than some bytes into a namespace, and says nothing about it."""

    def __init__(self, end, family: int = 4):
        self.end = end
        self.expression = "ip length" if family == 4 else "ip6 length"
        self.headers = 0 if family == 4 else 40

    def limit(self, byte_count: int):
        """Also fragments: a path that drops what is long often drops those, too."""
        self.lift()
        self.end.namespace.run("nft", "-f", "-", text=f"""
            table inet hole {{
                chain into {{
                    type filter hook prerouting priority -450
                    iifname "veth0" {self.expression} > {byte_count - self.headers} drop
                    iifname "veth0" ip frag-off & 0x3fff != 0 drop
                }}
            }}
        """)

    def lift(self):
        self.end.namespace.run("nft", "delete", "table", "inet", "hole", check=False)


class Stream:
    """A TCP connection that sends as much as it can, and notes how much arrived when."""

    def __init__(self, source, target):
        self.client, self.server = tcp_connection(source, target)
        self.arrived, self.is_stopped = [(time.monotonic(), 0)], False
        self.workers = [Worker(self.send), Worker(self.receive)]

    def send(self):
        block = bytes(1 << 16)
        self.client.settimeout(0.5)
        while not self.is_stopped:
            with contextlib.suppress(TimeoutError):
                self.client.send(block)

    def receive(self):
        total = 0
        self.server.settimeout(0.1)
        while not self.is_stopped:
            with contextlib.suppress(TimeoutError):
                total += len(self.server.recv(1 << 20))
                self.arrived.append((time.monotonic(), total))

    def rate(self, seconds: float) -> float:
        """Bytes per second of the last `seconds`."""
        began = self.arrived[-1]
        time.sleep(seconds)
        return (self.arrived[-1][1] - began[1]) / seconds

    def seconds_until(self, rate: float, since: float, seconds: float = 20) -> float:
        """How long after `since` a fifth of a second first carried bytes at `rate`."""
        while time.monotonic() - since < seconds:
            if self.rate(0.2) >= rate:
                return time.monotonic() - since
        raise AssertionError(f"not {rate} bytes/s within {seconds} s")

    def stop(self):
        self.is_stopped = True
        for worker in self.workers:
            worker.result(60)
        self.client.close()
        self.server.close()


@pytest.mark.parametrize("profile", [AES, CHACHA])
def test_round_trip_is_that_of_the_path(lab, profile):
    one_space, two_space = lab.namespace(), lab.namespace()
    outer_link(lab, one_space, two_space)
    one = End(one_space, lab.daemon(one_space, branchlined()), 1).start()
    two = End(two_space, lab.daemon(two_space, branchlined()), 2).start()
    relay = Relay(lab, one, two, seconds=0.05)
    one.add_peer(two, endpoint=relay.outside, profile=profile)
    two.add_peer(one, endpoint=relay.inside, profile=profile)
    for _ in range(20):
        echo(one, two, seconds=20)
    for end in (one, two):
        wait_until(lambda: int(path(end).get("answers", 0)) >= 2, 10, "answers to probes")
        assert 100_000 <= int(path(end)["rtt_min_us"]) <= 1_000_000, path(end)
        assert 100_000 <= int(path(end)["rtt_us"]) <= 5_000_000, path(end)
        assert int(path(end)["jitter_us"]) < 5_000_000, path(end)


def test_loss_is_that_of_the_way_out(lab):
    tunnel = ours(lab)
    tunnel.passes()
    one, two = tunnel.ends
    sends_single_datagrams(one)
    two.namespace.run("nft", "-f", "-", text="""
        table inet loss {
            chain into {
                type filter hook prerouting priority -450
                iifname "veth0" udp length < 1000 numgen random mod 10 < 3 drop
            }
        }
    """)
    sender = one.bind(4, socket.SOCK_DGRAM)
    sender.connect((two.inner(), 9))

    def shares() -> tuple[float, float]:
        with contextlib.suppress(OSError):
            for _ in range(50):
                sender.send(bytes(100))
        return tuple(int(path(end).get("loss_ppm", 0)) / 1e6 for end in (one, two))
    with sender:
        wait_until(lambda: 0.15 < shares()[0] < 0.5, 30, "three of ten lost", interval=0.1)
        assert shares()[1] < 0.1, "the way back loses nothing"


@pytest.mark.parametrize("family", [4, 6])
def test_whole_mtu_is_found_where_the_path_has_it(lab, family):
    tunnel = ours(lab, family=family)
    tunnel.passes(family=4)
    whole = MTU + MESSAGE_BYTES + IP_AND_UDP_BYTES + (20 if family == 6 else 0)
    for end in tunnel.ends:
        await_mtu(end, range(whole, whole + 1))


@pytest.mark.parametrize("limit", [1280, 1400])
def test_black_hole_is_found_and_left_behind(lab, limit):
    """A transfer goes on by itself when the path becomes narrow."""
    tunnel = ours(lab)
    tunnel.passes()
    one, two = tunnel.ends
    await_mtu(one, range(1480, 1481))
    await_mtu(two, range(1480, 1481))
    sends_single_datagrams(one)
    hole = BlackHole(two)
    stream = Stream(one, two)
    try:
        time.sleep(1)
        before = stream.rate(1)
        since = time.monotonic()
        hole.limit(limit)
        seconds = stream.seconds_until(before * 0.2, since, 60)
        print(f"path MTU {limit}: flows again after {seconds:.2f} s")
        assert seconds < 40
        await_mtu(one, range(limit - 8, limit + 1))
        assert int(path(two)["mtu"]) == 1480, "the way back is as wide as ever"
    finally:
        stream.stop()
    # What the kernel learnt of it is less than the interface's MTU.
    route = one.namespace.run("ip", "route", "get", two.inner()).stdout
    learnt = int(re.search(r"mtu (\d+)", route)[1])
    assert limit - 8 - MESSAGE_BYTES - IP_AND_UDP_BYTES - 16 <= learnt
    assert learnt <= limit - MESSAGE_BYTES - IP_AND_UDP_BYTES
    assert int(one.daemon.status().get("mtu")) == MTU, "the interface's own stays"


def fragmentation_needed(source: str, target: str, mtu: int) -> bytes:
    """ICMP that says so of a datagram of the tunnel's; no router has sent it."""
    inner = ipv4(source, target, 17, struct.pack(">HHHH", LISTEN_PORT, LISTEN_PORT, 1460, 0))
    body = struct.pack(">BBHHH", 3, 4, 0, 0, mtu) + inner
    return body[:2] + struct.pack(">H", checksum(body)) + body[4:]


def kernel_count(end, protocol: str, name: str) -> int:
    """Returns one of the kernel's counters of an end's namespace (/proc/net/snmp)."""
    text = end.namespace.run("cat", "/proc/net/snmp").stdout
    names, values = re.findall(rf"^{protocol}: (.*)$", text, re.MULTILINE)
    return int(dict(zip(names.split(), values.split()))[name])


def test_forged_icmp_makes_nothing_smaller(lab):
    tunnel = ours(lab)
    one, two = tunnel.ends
    tunnel.passes()
    await_mtu(one, range(1480, 1481))
    source, target = one.outer(), two.outer()
    with two.namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as forger:
        forger.sendto(fragmentation_needed(source, target, 552), (source, 0))
    wait_until(lambda: kernel_count(one, "Icmp", "InDestUnreachs") > 0, 5, "the message arrives")
    tcp_transfer(one, two, 2_000_000)
    assert kernel_count(one, "Ip", "FragCreates") == 0, "data was cut"


@pytest.mark.long
def test_path_that_is_wide_again_is_used(lab):
    """Once a minute what failed is tried again, while there is traffic."""
    tunnel = ours(lab)
    one, two = tunnel.ends
    for end in tunnel.ends:
        end.namespace.configure("link set veth0 mtu 1350")
    tunnel.passes()
    await_mtu(one, range(1343, 1351), 20)
    for end in tunnel.ends:
        end.namespace.configure("link set veth0 mtu 1500")
    with one.namespace.popen("ping", "-q", "-i", "0.2", "-s", "1000", "-w", "310",
                             two.inner()) as ping:
        await_mtu(one, range(1480, 1481), 100)
        ping.terminate()
    tcp_transfer(one, two, 2_000_000)


def test_narrow_device_is_a_narrow_path(lab):
    """What does not leave the machine is not waited for by anybody."""
    tunnel = ours(lab)
    one, two = tunnel.ends
    for end in tunnel.ends:
        end.namespace.configure("link set veth0 mtu 1350")
    tunnel.passes()
    await_mtu(one, range(1343, 1351))
    tcp_transfer(one, two, 2_000_000, is_duplex=True)
    one.namespace.run("ip", "route", "flush", "cache")
    ping = one.namespace.run(
        "ping", "-M", "do", "-c", "1", "-W", "2", "-s", str(MTU - 28), two.inner(), check=False)
    assert re.search(r"mtu ?= ?12[89]\d", ping.stdout + ping.stderr), ping.stdout
    assert one.daemon.status()["drop_packet_too_big"] != "0"
    # Who lets packets be cut in two gets them through: the kernel does that outside.
    ping = one.namespace.run(
        "ping", "-M", "dont", "-c", "1", "-W", "15", "-s", str(MTU - 28), two.inner())
    # IPv6 has no smaller packets than this, whatever the path carries.
    ping = one.namespace.run(
        "ping", "-c", "1", "-W", "15", "-M", "do", "-s", str(1280 - 48), two.inner(6))


def test_idle_tunnel_is_quiet(lab):
    """Probes are few after traffic, and end."""
    tunnel = ours(lab)
    tunnel.passes()
    one, two = tunnel.ends
    await_mtu(one, range(1480, 1481))
    await_mtu(two, range(1480, 1481))
    time.sleep(2)
    with Wiretap(one.namespace) as tap:
        time.sleep(8)
        seen = tap.datagrams()
    sizes = {len(d.payload) for d in seen}
    assert sizes <= {32, PROBE_BYTES, ANSWER_BYTES}, sizes
    bits = sum(8 * (len(d.payload) + IP_AND_UDP_BYTES) for d in seen if d.source == one.outer())
    assert bits / 8 < 1_000, f"{bits / 8:.0f} bit/s"
    time.sleep(20)
    with Wiretap(one.namespace) as tap:
        time.sleep(5)
        assert not [d for d in tap.datagrams() if len(d.payload) > 32], "still probing"
    echo(one, two)
    before = int(path(one)["answers"])
    wait_until(lambda: int(path(one)["answers"]) > before, 3, "a look at the path at once")


def test_stock_peer_is_not_probed(lab):
    star = Star(lab, [branchlined()])
    (peer,) = star.peers
    star.hub.add_peer(peer)
    peer.add_peer(star.hub, endpoint=star.hub.endpoint(), allowed=("10.77.0.0/16",))
    with Wiretap(star.hub.namespace) as tap:
        echo(peer, star.hub)
        time.sleep(3)
        seen = tap.datagrams()
    assert len(seen) >= 4, "two of the handshake, and an echo"
    assert all(d.payload[:4] == bytes([d.payload[0], 0, 0, 0]) for d in seen)
    # An empty packet, a small echo and what the kernel says of itself; nothing of full size.
    assert not [d for d in seen if len(d.payload) > 200]
    assert not path(star.hub)


def test_shaper_follows_a_line_that_carries_less_than_it_says(lab):
    """Small packets wait here and not in the modem, whatever rate the line has at the moment."""
    tunnel = ours(lab)
    one, two = tunnel.ends
    tunnel.passes()

    def line(bits_per_second: int):
        one.namespace.run("tc", "qdisc", "replace", "dev", "veth0", "root", "tbf", "rate",
                          f"{bits_per_second}", "burst", "15000", "limit", "400000")

    def rate() -> int:
        return int(qos(one.daemon)["link_now"])
    line(6_000_000)
    set_qos(one.daemon, "link=30000000 14 1000000")
    assert rate() == 30_000_000
    with Uploads(one, two, 4):
        wait_until(lambda: rate() < 12_000_000, 60, "a rate near the line's", interval=0.2)
        time.sleep(8)
        narrow = delays(one, two, 5)
        before = rate()
        line(25_000_000)
        wait_until(lambda: rate() > 1.5 * before, 60, "the line is used again", interval=0.2)
    words = f"{statistics.median(narrow) * 1000:.1f} ms, {max(narrow) * 1000:.1f} ms at most"
    print(words)
    # What waits in a full modem waits for half a second.
    assert statistics.median(narrow) < 0.25, words
