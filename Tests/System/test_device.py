"""Hostile and unusual packets on the TUN side, and what the device does with its MTU."""

import errno
import os
import random
import socket
import struct
import time

import pytest

from bench import ARRIVAL_SECONDS, PEER_INNER, SILENCE_SECONDS, Bench, session_of
from lab import Key, is_reference_under_test, wait_until
from packets import ipv4, ipv6, udp
from pairs import CORE, OWN, each
from traffic import tcp_transfer, udp_sizes
from tunnel import wait_for_handshake
from wiretap import DATA, Wiretap

SOL_PACKET, PACKET_VNET_HDR = 263, 15


def inject(tunnel, frames: list[bytes], protocol: int = 0x0800, has_header: bool = False):
    """Puts frames into the TUN device's queue as they are, past the kernel's IP layer.

    Returns how many the kernel let through.
    """
    passed = 0
    end = tunnel.subject
    with end.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        if has_header:
            raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        with end.namespace.entered():
            raw.bind((end.daemon.name, protocol))
        for index, frame in enumerate(frames):
            try:
                raw.send(frame)
                passed += 1
            except OSError:
                continue  # the kernel refused the frame: the daemon never sees it
            if index % 50 == 49:
                time.sleep(0.003)
    return passed


def hostile_frames() -> list[bytes]:
    noise, target = random.Random(6), "10.77.0.2"
    good = udp(("10.77.0.1", 1), (target, 2), b"g" * 200)
    good6 = udp(("fd77::1", 1), ("fd77::2", 2), b"g" * 200)
    frames = [noise.randbytes(size) for size in range(1, 1420, 3)]
    frames += [good[:size] for size in range(1, len(good))]
    frames += [good6[:size] for size in range(1, len(good6))]
    for version in range(16):
        frames.append(bytes([version << 4 | 5]) + good[1:])
    for words in range(16):
        frames.append(bytes([0x40 | words]) + good[1:])
    for length in (0, 1, 19, 20, 228, 229, 65535):
        frames.append(good[:2] + struct.pack(">H", length) + good[4:])
        frames.append(good6[:4] + struct.pack(">H", length) + good6[6:])
    # Extension headers that point past the end or at themselves.
    for chain in (b"\0\0" * 4, b"\0\xff" + bytes(6), b"\x2b\0" + bytes(6) + b"\x3c\xff" + bytes(6)):
        for first in (0, 43, 44, 51, 60, 135):
            frames.append(ipv6("fd77::1", "fd77::2", first, chain))
    for offset in (0x2000, 0x2001, 0x1FFF, 0x3FFF, 0x0001):
        frames.append(ipv4("10.77.0.1", target, 17, os.urandom(64), fragment=offset))
        frames.append(ipv4("10.77.0.1", target, 6, os.urandom(64), fragment=offset))
    return frames


@each(OWN)
def test_frames_that_are_not_ip_harm_nothing(lab, pair):
    tunnel = pair.build(lab)
    tunnel.passes()
    before = tunnel.subject.daemon.dropped()
    for protocol in (0x0800, 0x86DD, 0x0806, 0x88B5):
        passed = inject(tunnel, hostile_frames(), protocol)
        assert passed > 1000
    tunnel.passes()
    assert tunnel.subject.daemon.is_alive
    if not is_reference_under_test():
        assert tunnel.subject.daemon.dropped() > before


def test_wrong_offload_headers_harm_nothing(lab):
    """virtio_net_hdr with sizes and offsets that do not fit the frame behind it."""
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    noise, frames = random.Random(7), []
    payload = udp(("10.77.0.1", 1), ("10.77.0.2", 2), os.urandom(3000))
    tcp = ipv4("10.77.0.1", "10.77.0.2", 6, struct.pack(
        ">HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x10, 100, 0, 0) + os.urandom(3000))
    for frame in (payload, tcp):
        for kind in (0, 1, 3, 4, 5, 0x81):
            for flags in (0, 1, 2):
                for _ in range(12):
                    header = noise.choice([0, 1, 20, 28, 40, 60, 65535])
                    size = noise.choice([0, 1, 8, 100, 1380, 65535])
                    start, offset = noise.choice([0, 20, 40, 3000]), noise.choice([0, 6, 16, 9])
                    frames.append(
                        struct.pack("<BBHHHH", flags, kind, header, size, start, offset) + frame)
    inject(tunnel, frames, has_header=True)
    tunnel.passes()
    tcp_transfer(tunnel.subject, tunnel.other, 5_000_000, is_duplex=True)


@pytest.mark.branchline_only
@pytest.mark.parametrize("family", [4, 6])
def test_destination_without_a_peer_is_unreachable_at_once(lab, family):
    """The sender learns it by ICMP, as with the kernel's WireGuard; wireguard-go is silent."""
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    name = tunnel.subject.daemon.name
    prefix, target = (("10.99.0.0/16", "10.99.1.1"), ("fd99::/64", "fd99::1"))[family == 6]
    tunnel.subject.namespace.configure(f"route add {prefix} dev {name}")
    with tunnel.subject.bind(family) as client:
        level, option = (0, 11) if family == 4 else (41, 25)  # IP_RECVERR, IPV6_RECVERR
        client.setsockopt(level, option, 1)
        client.connect((target, 9))
        client.settimeout(10)
        client.send(b"anyone?")
        with pytest.raises(OSError) as caught:
            client.recv(100)
        assert caught.value.errno == errno.EHOSTUNREACH
    with tunnel.subject.bind(family, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        with pytest.raises(OSError) as caught:
            client.connect((target, 9))
        assert caught.value.errno == errno.EHOSTUNREACH
    wait_until(lambda: tunnel.subject.daemon.dropped() >= 2, 5, "both are counted")


def test_unreachable_answers_nothing_that_must_not_be_answered(lab):
    """No ICMP error about an ICMP error, a multicast, a later fragment (RFC 1122, 3.2.2)."""
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    name = tunnel.subject.daemon.name
    with Wiretap(tunnel.subject.namespace, name, has_ethernet=False) as tap:
        counters = _tun_received(tunnel)
        inject(tunnel, [
            ipv4("10.77.0.1", "10.99.0.1", 1, b"\3\1" + bytes(26)),
            ipv4("10.77.0.1", "239.1.1.1", 17, bytes(20)),
            ipv4("10.77.0.1", "255.255.255.255", 17, bytes(20)),
            ipv4("10.77.0.1", "10.99.0.1", 17, bytes(64), fragment=0x2010),
            ipv4("0.0.0.0", "10.99.0.1", 17, bytes(20)),
            ipv4("239.0.0.1", "10.99.0.1", 17, bytes(20)),
            ipv6("::", "fd99::1", 17, bytes(20)),
            ipv6("fd77::1", "ff02::1", 17, bytes(20)),
            ipv6("fd77::1", "fd99::1", 58, b"\1\0" + bytes(30)),
        ])
        time.sleep(0.5)
        assert _tun_received(tunnel) == counters, tap.datagrams()


def _tun_received(tunnel) -> int:
    return int(tunnel.subject.namespace.run(
        "cat", f"/sys/class/net/{tunnel.subject.daemon.name}/statistics/rx_packets").stdout)


def test_multicast_without_a_route_inside_harms_nothing(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    name = tunnel.subject.daemon.name
    tunnel.subject.namespace.configure(f"link set {name} multicast on",
                                       f"route add 224.0.0.0/4 dev {name}")
    with tunnel.subject.bind() as client:
        for _ in range(200):
            client.sendto(b"anyone", ("239.1.2.3", 9))
    tunnel.passes()


def test_packets_for_a_peer_without_endpoint_wait_and_harm_nothing(lab):
    """Thousands of them, then the endpoint: the tunnel works at once and memory stays bounded."""
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    silent = Key()
    name = tunnel.subject.daemon.name
    tunnel.subject.daemon.set(f"public_key={silent.public.hex()}", "allowed_ip=10.98.0.0/16")
    tunnel.subject.namespace.configure(f"route add 10.98.0.0/16 dev {name}")
    before = tunnel.subject.daemon.resident_bytes()
    with tunnel.subject.bind() as client:
        for index in range(20000):
            try:
                client.sendto(b"w" * 1200, ("10.98.0.1", 9))
            except OSError:
                pass  # unreachable is a fair answer
    assert tunnel.subject.daemon.resident_bytes() - before < 32 << 20
    tunnel.passes()


def test_packets_for_a_dead_endpoint_wait_and_harm_nothing(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    dead = Key()
    tunnel.subject.daemon.set(
        f"public_key={dead.public.hex()}", "allowed_ip=10.98.0.0/16", "endpoint=192.0.2.99:9")
    tunnel.subject.namespace.configure(f"route add 10.98.0.0/16 dev {tunnel.subject.daemon.name}")
    with tunnel.subject.bind() as client:
        for _ in range(5000):
            client.sendto(b"w" * 1200, ("10.98.0.1", 9))
    tunnel.passes()


@each(CORE)
def test_mtu_change_is_followed(lab, pair):
    """Small, then larger than the outer link: what does not fit is fragmented outside."""
    tunnel = pair.build(lab)
    starter = tunnel.subject if pair.initiator == "subject" else tunnel.other
    tunnel.passes(starter)
    for mtu in (1280, 1000 if pair.is_other_reference else 1300, 4000, 1420):
        for end in tunnel.ends:
            end.namespace.configure(f"link set {end.daemon.name} mtu {mtu}")
            if mtu < 1280:
                continue
            end.namespace.configure(
                f"address replace {end.inner(6)}/64 dev {end.daemon.name} nodad")
        for end in tunnel.ends:
            # wireguard-go does not tell.
            wait_until(lambda: end.daemon.status().get("mtu", str(mtu)) == str(mtu), 5, "the MTU")
        time.sleep(0.5)
        for source in tunnel.ends:
            target = tunnel.opposite(source)
            sizes = [*range(mtu - 90, mtu + 30, 3), 0, 1, 3900, 8000]
            udp_sizes(source, target, sizes)
            tcp_transfer(source, target, 3_000_000)


def test_wrong_checksum_inside_is_passed_on_not_repaired(lab):
    """Coalescing may merge what is right only: a broken datagram must not become a valid one."""
    bench = Bench(lab)
    session = session_of(bench)
    good = bench.inner(b"c" * 100)
    damaged = bytearray(good)
    damaged[60] ^= 0xFF
    for _ in range(20):
        bench.peer.send(session.seal(bytes(good)))
        bench.peer.send(session.seal(bytes(damaged)))
    for _ in range(20):
        assert bench.arrived() == b"c" * 100
    assert bench.arrived(seconds=SILENCE_SECONDS) is None, "a damaged datagram was delivered"


def test_staged_packets_leave_in_order_after_the_handshake(lab):
    """What was sent while no session existed arrives once it does, in order."""
    bench = Bench(lab, is_initiator=False)
    with bench.end.bind() as client:
        for index in range(20):
            client.sendto(struct.pack("<I", index), (PEER_INNER, 9))
        initiation, _ = bench.peer.receive(ARRIVAL_SECONDS)
        response, session = bench.peer.answer(initiation)
        bench.peer.send(response)
        arrived = []
        while len(arrived) < 20 and (message := bench.peer.receive(5, DATA)):
            packet = session.open(message[0])
            if packet:
                arrived.append(struct.unpack_from("<I", packet, 28)[0])
    assert arrived == sorted(arrived) and len(arrived) >= 10, arrived
    assert arrived[-1] == 19


@each(OWN)
def test_idle_tunnel_says_nothing(lab, pair):
    """Without traffic and keepalive, nothing leaves after the passive keepalive's time."""
    tunnel = pair.build(lab)
    tunnel.passes()
    wait_for_handshake(tunnel.subject, tunnel.other)
    time.sleep(0.5)
    with Wiretap(tunnel.other.namespace) as tap:
        time.sleep(2)
        assert len(tap.messages()) <= 1
