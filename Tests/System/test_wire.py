"""Byte for byte on the wire, against a WireGuard peer in Python.

That peer sends what no implementation would: authentic packets with wrong insides, counters in
any order, responses never. It also sees what an implementation hides: padding, indices, ToS.
"""

import os
import socket
import struct
import time

import pytest

from bench import ARRIVAL_SECONDS, PEER_INNER, PEER_INNER6, SILENCE_SECONDS, Bench, session_of
from lab import is_reference_under_test, wait_until
from packets import ipv4, ipv6
from tunnel import MTU
from wirepeer import WirePeer, tai64n
from wiretap import DATA, INITIATION, RESPONSE

AF41, CE, ECT0, ECT1 = 0x88, 3, 2, 1
WINDOW_CERTAIN = 8000 - 64
REJECT_AFTER_MESSAGES = (1 << 64) - (1 << 13) - 1


@pytest.mark.parametrize("psk", [bytes(32), os.urandom(32)], ids=["plain", "psk"])
def test_subject_responds_to_the_papers_handshake(lab, psk):
    bench = Bench(lab, psk)
    session = session_of(bench)
    assert bench.delivers(session.seal(bench.inner(b"six", 6)), b"six", 6)
    packet, _ = bench.outgoing(session, b"answer")
    assert b"answer" in packet


@pytest.mark.parametrize("psk", [bytes(32), os.urandom(32)], ids=["plain", "psk"])
def test_subject_begins_the_papers_handshake(lab, psk):
    bench = Bench(lab, psk, is_initiator=False)
    with bench.end.bind() as client:
        client.sendto(b"staged", (PEER_INNER, 9))
        initiation, _ = bench.peer.receive(ARRIVAL_SECONDS, INITIATION)
        response, session = bench.peer.answer(initiation)
        bench.peer.send(response)
        message, _ = bench.peer.receive(ARRIVAL_SECONDS, DATA)
        assert b"staged" in session.open(message), "the packet that asked for the handshake"
    assert bench.delivers(session.seal(bench.inner(b"back")), b"back")


def test_sender_indices_are_random_and_reserved_bytes_zero(lab):
    bench = Bench(lab)
    indices = []
    for _ in range(6):
        time.sleep(0.06)
        bench.peer.send(bench.peer.initiation())
        response = bench.peer.receive(ARRIVAL_SECONDS, RESPONSE)[0]
        assert response[1:4] == bytes(3)
        bench.peer.finish(response)
        indices.append(struct.unpack_from("<I", response, 4)[0])
    assert len(set(indices)) == 6
    assert max(indices) - min(indices) > 1 << 20, f"indices follow each other: {indices}"


def test_every_packet_is_padded_to_sixteen_but_not_past_the_mtu(lab):
    bench = Bench(lab)
    session = session_of(bench)
    name = bench.end.daemon.name
    for mtu in (MTU, 1411, 1385):
        bench.end.namespace.configure(f"link set {name} mtu {mtu}")
        # wireguard-go does not tell.
        wait_until(lambda: bench.end.daemon.status().get("mtu", str(mtu)) == str(mtu), 5, "the MTU")
        time.sleep(0.2)
        for size in (28, 29, 44, 45, 1000, mtu - 12, mtu - 1, mtu):
            packet, _ = bench.outgoing(session, b"p" * (size - 28))
            assert len(packet) == min((size + 15) // 16 * 16, mtu), (mtu, size, len(packet))
            assert packet[size:] == bytes(len(packet) - size), "padding is not zero"


def test_counters_rise_by_one_from_zero(lab):
    bench = Bench(lab)
    session = session_of(bench)
    counters = []
    with bench.end.bind() as client:
        for index in range(50):
            client.sendto(bytes([index]), (PEER_INNER, 9))
    while len(counters) < 50:
        message, _ = bench.peer.receive(ARRIVAL_SECONDS, DATA)
        if session.open(message):
            counters.append(struct.unpack_from("<Q", message, 8)[0])
    assert counters == list(range(counters[0], counters[0] + 50)) and counters[0] < 5


def test_replay_window_takes_each_counter_once(lab):
    bench = Bench(lab)
    session = session_of(bench)

    def takes(counter: int) -> bool:
        payload = struct.pack("<Q", counter) + os.urandom(4)
        return bench.delivers(session.seal(bench.inner(payload), counter), payload)

    def refuses(counter: int) -> bool:
        payload = struct.pack("<Q", counter) + os.urandom(4)
        return bench.withholds(session.seal(bench.inner(payload), counter), payload)

    assert takes(5) and refuses(5)
    assert takes(4) and takes(3) and refuses(4)
    top = 20_000
    assert takes(top) and refuses(top)
    assert takes(top - WINDOW_CERTAIN), "inside the window of 8,000 less a word"
    assert refuses(top - WINDOW_CERTAIN)
    assert refuses(top - 8200) and refuses(6), "behind the window"
    assert takes(top + 1)


def test_counter_past_reject_after_messages_is_dropped(lab):
    bench = Bench(lab)
    session = session_of(bench)
    for counter in (REJECT_AFTER_MESSAGES, REJECT_AFTER_MESSAGES + 1, (1 << 64) - 1):
        assert bench.withholds(session.seal(bench.inner(b"late"), counter), b"late")
    assert bench.delivers(session.seal(bench.inner(b"on")), b"on"), "the window has jumped"


def test_forged_counter_does_not_move_the_window(lab):
    """The window moves after authentication only."""
    bench = Bench(lab)
    session = session_of(bench)
    forged = bytearray(session.seal(bench.inner(b"forged"), 7))
    struct.pack_into("<Q", forged, 8, 1 << 40)
    assert bench.withholds(bytes(forged), b"forged")
    assert bench.delivers(session.seal(bench.inner(b"true")), b"true")


def wrong_insides(bench: Bench) -> dict[str, bytes]:
    """Returns authentic inner packets that must not reach the TUN device."""
    good = bench.inner(b"w" * 100)
    good6 = bench.inner(b"w" * 100, 6)
    return {
        "one byte": b"\x45", "nibble 0": bytes(64), "nibble 15": b"\xff" * 64,
        "IPv4 header cut": good[:19], "IPv6 header cut": good6[:39],
        "IPv4 longer than the packet": good[:2] + struct.pack(">H", 2000) + good[4:],
        "IPv4 total below its header": good[:2] + struct.pack(">H", 12) + good[4:],
        "IPv6 longer than the packet": good6[:4] + struct.pack(">H", 2000) + good6[6:],
        "source of somebody else": bench.inner(b"w" * 100, source="10.77.0.3"),
        "IPv6 source of somebody else": bench.inner(b"w" * 100, 6, source="fd77::3"),
        "source of the subject itself": bench.inner(b"w" * 100, source="10.77.0.1"),
        "ARP": struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20),
    }


def test_authentic_packet_with_wrong_inside_is_dropped_and_counted(lab):
    bench = Bench(lab)
    session = session_of(bench)
    before = bench.dropped()
    received = _tun_received(bench)
    cases = wrong_insides(bench)
    for name, packet in cases.items():
        bench.peer.send(session.seal(packet))
        bench.peer.send(session.seal(packet, is_padded=False))
    assert bench.delivers(session.seal(bench.inner(b"after")), b"after")
    assert _tun_received(bench) == received + 1, "a wrong packet reached the TUN device"
    if not is_reference_under_test():
        assert bench.dropped() - before >= 2 * len(cases)


def _tun_received(bench: Bench) -> int:
    return int(bench.end.namespace.run(
        "cat", f"/sys/class/net/{bench.end.daemon.name}/statistics/rx_packets").stdout)


def test_padded_and_unpadded_packets_arrive_cut_to_their_length(lab):
    bench = Bench(lab)
    session = session_of(bench)
    for size in (0, 1, 7, 100, 1392):
        payload = os.urandom(size)
        for extra in (0, 1, 15, 300):
            packet = bench.inner(payload) + bytes(extra)
            assert bench.delivers(session.seal(packet, is_padded=False), payload)


def test_old_timestamp_is_not_answered(lab):
    bench = Bench(lab)
    session_of(bench)
    time.sleep(0.1)
    stamp = tai64n()
    bench.peer.send(bench.peer.initiation(stamp))
    assert bench.peer.receive(ARRIVAL_SECONDS, RESPONSE)
    time.sleep(0.1)
    for older in (stamp, tai64n()[:7] + b"\0" + stamp[8:], bytes(12)):
        bench.peer.send(bench.peer.initiation(older))
        assert not bench.peer.receive(0.3, RESPONSE), "an initiation was answered twice"
    bench.peer.send(bench.peer.initiation())
    assert bench.peer.receive(ARRIVAL_SECONDS, RESPONSE)


def test_replayed_initiation_does_not_end_the_session(lab):
    bench = Bench(lab)
    initiation = bench.peer.initiation()
    bench.peer.send(initiation)
    session = bench.peer.finish(bench.peer.receive(ARRIVAL_SECONDS, RESPONSE)[0])
    for _ in range(5):
        bench.peer.send(initiation)
        assert not bench.peer.receive(0.1, RESPONSE)
    assert bench.delivers(session.seal(bench.inner(b"alive")), b"alive")


def test_endpoint_roams_on_fresh_authentic_data_only(lab):
    bench = Bench(lab)
    session = session_of(bench)
    replayed = session.seal(bench.inner(b"replayed"))
    assert bench.delivers(replayed, b"replayed")
    stranger = WirePeer(bench.peer.namespace, bench.peer.remote, bench.end.key.public)
    home = f"192.0.2.2:{bench.peer.port}"

    def endpoint() -> str:
        return bench.end.daemon.peer(bench.peer.key.public)["endpoint"][0]

    try:
        forged = bytearray(session.seal(bench.inner(b"forged")))
        forged[-1] ^= 1
        for message in (replayed, bytes(forged), stranger.initiation(), forged[:40]):
            stranger.send(bytes(message))
            time.sleep(0.1)
            assert endpoint() == home, "followed a packet it should not believe"
        stranger.send(session.seal(bench.inner(b"roamed")))
        assert bench.arrived() == b"roamed"
        assert endpoint() == f"192.0.2.2:{stranger.port}"
    finally:
        stranger.close()


def test_responder_sends_no_data_before_the_initiator_confirmed(lab):
    """Until the first authentic transport packet, a responder has no session to send with."""
    bench = Bench(lab)
    session = bench.peer.shake()
    with bench.end.bind() as client:
        client.sendto(b"too early", (PEER_INNER, 9))
    early = bench.peer.receive(0.5, DATA)
    assert early is None, "sent data on an unconfirmed session"
    assert bench.delivers(session.seal(bench.inner(b"confirm")), b"confirm")
    staged, _ = bench.peer.receive(ARRIVAL_SECONDS, DATA)
    assert b"too early" in session.open(staged), "what waited for the session was lost"
    assert b"later" in bench.outgoing(session, b"later")[0]


@pytest.mark.branchline_only
def test_data_behind_a_handshake_message_in_one_run_arrives(lab):
    """The receiving kernel steers a run by its first datagram; the others may be another's."""
    bench = Bench(lab)
    session = session_of(bench)
    udp_segment = 103
    bench.peer.socket.setsockopt(socket.IPPROTO_UDP, udp_segment, 148)
    for turn in range(5):
        payload = b"behind %d" % turn
        run = bench.peer.initiation() + session.seal(bench.inner(payload))
        bench.peer.socket.sendto(run, bench.peer.remote)
        assert bench.arrived() == payload
        time.sleep(0.05)


def test_previous_session_is_read_while_the_next_begins(lab):
    bench = Bench(lab)
    old = session_of(bench)
    time.sleep(0.1)
    new = bench.peer.shake()
    assert bench.delivers(old.seal(bench.inner(b"old")), b"old")
    assert bench.delivers(new.seal(bench.inner(b"new")), b"new")
    assert bench.delivers(old.seal(bench.inner(b"still")), b"still")


@pytest.mark.branchline_only
def test_handshake_carries_af41(lab):
    bench = Bench(lab, is_initiator=False)
    with bench.end.bind() as client:
        client.sendto(b"x", (PEER_INNER, 9))
    initiation, traffic_class = bench.peer.receive(ARRIVAL_SECONDS, INITIATION)
    assert traffic_class == AF41
    time.sleep(0.1)
    bench.peer.send(bench.peer.initiation())
    assert bench.peer.receive(ARRIVAL_SECONDS, RESPONSE)[1] == AF41


ECN_CASES = [  # inner, outer, what arrives (RFC 6040, figure 4); None is dropped
    (0, 0, 0), (0, ECT0, 0), (0, ECT1, 0), (0, CE, None),
    (ECT0, 0, ECT0), (ECT0, ECT0, ECT0), (ECT0, ECT1, ECT1), (ECT0, CE, CE),
    (ECT1, 0, ECT1), (ECT1, ECT0, ECT1), (ECT1, ECT1, ECT1), (ECT1, CE, CE),
    (CE, 0, CE), (CE, ECT0, CE), (CE, ECT1, CE), (CE, CE, CE)]


@pytest.mark.branchline_only
@pytest.mark.parametrize("family", [4, 6])
def test_outer_congestion_mark_reaches_the_inner_packet(lab, family):
    bench = Bench(lab)
    session = session_of(bench)
    server = bench.server[family]
    level, name, received = (0, 13, 1) if family == 4 else (41, 66, 67)  # RECVTOS, RECVTCLASS
    server.setsockopt(level, name, 1)
    for inner, outer, expected in ECN_CASES:
        before = bench.dropped()
        dscp = 0x28
        packet = bench.inner(b"ecn", family, traffic_class=dscp | inner)
        bench.peer.send(session.seal(packet), traffic_class=outer)
        server.settimeout(SILENCE_SECONDS if expected is None else ARRIVAL_SECONDS)
        try:
            _, control, _, _ = server.recvmsg(100, 100)
        except TimeoutError:
            assert expected is None, f"inner {inner} under outer {outer} was lost"
            assert bench.dropped() > before
            continue
        arrived = next(data[0] for lv, nm, data in control if lv == level and nm == received)
        assert expected is not None, f"CE over Not-ECT arrived as {arrived}"
        assert arrived == dscp | expected, f"inner {inner}, outer {outer}"


@pytest.mark.parametrize("arguments", [(), ("--no-copy-ecn",)], ids=["copied", "not-copied"])
@pytest.mark.branchline_only
def test_outgoing_mark_is_the_inner_one_or_none(lab, arguments):
    """RFC 6040: a copy (normal mode) or Not-ECT (compatibility mode); DSCP stays inside."""
    bench = Bench(lab, arguments=arguments)
    session = session_of(bench)
    for family in (4, 6):
        for inner in (0, ECT0, ECT1, CE):
            packet, outer = bench.outgoing(session, b"mark", family, 0x28 | inner)
            assert outer == (0 if arguments else inner), f"inner {inner} left as {outer}"
            shown = packet[1] if family == 4 else struct.unpack(">H", packet[:2])[0] >> 4 & 255
            assert shown == 0x28 | inner, "the inner packet was changed"


def test_fragments_inside_arrive_whole(lab):
    """Fragments have no ports; the tunnel carries them as they are and the kernel joins them."""
    bench = Bench(lab)
    session = session_of(bench)
    payload = os.urandom(2000)
    whole = bench.inner(payload)[20:]
    pieces = [whole[:1000], whole[1000:]]
    packets = [
        ipv4(PEER_INNER, bench.end.inner(), 17, piece, identification=77,
             fragment=(0x2000 if index == 0 else 0) | index * 125)
        for index, piece in enumerate(pieces)]
    for order in (packets, packets[::-1]):
        for packet in order:
            bench.peer.send(session.seal(packet))
        assert bench.arrived() == payload


def test_unknown_transport_protocols_pass(lab):
    """An IP packet is an IP packet: protocol 253 (RFC 3692) reaches a raw socket."""
    bench = Bench(lab)
    session = session_of(bench)
    with bench.end.namespace.socket(socket.AF_INET, socket.SOCK_RAW, 253) as raw:
        bench.peer.send(session.seal(ipv4(PEER_INNER, bench.end.inner(), 253, b"experiment")))
        raw.settimeout(ARRIVAL_SECONDS)
        assert raw.recv(100)[20:] == b"experiment"
    with bench.end.namespace.socket(socket.AF_INET6, socket.SOCK_RAW, 253) as raw:
        bench.peer.send(session.seal(ipv6(PEER_INNER6, bench.end.inner(6), 253, b"six")))
        raw.settimeout(ARRIVAL_SECONDS)
        assert raw.recv(100) == b"six"
