"""Hostile datagrams on the UDP port: counted drops, no crash, no leak, no lost tunnel."""

import os
import random
import socket
import struct
import time

import pytest

from bench import ARRIVAL_SECONDS, PEER_INNER, Bench, session_of
from lab import Namespace, branchlined, is_reference_under_test, wait_until, wireguard_go
from packets import ipv4
from pairs import INTEROPERATION, OWN, Pair, each
from tunnel import LISTEN_PORT, make_tunnel
from wirepeer import WirePeer, first_mac_key, mac
from wiretap import DATA, INITIATION, KEEPALIVE_BYTES, RESPONSE, Wiretap

RESIDENT_GROWTH_MAX = 16 << 20
UDP_SEGMENT = 103


class Attack:
    """A tunnel under attack from the other side's namespace, with its state before."""

    def __init__(self, lab, pair: Pair = OWN[0]):
        self.tunnel = pair.build(lab)
        self.daemon = self.tunnel.subject.daemon
        self.starter = (
            self.tunnel.subject if pair.initiator == "subject" else self.tunnel.other)
        self.tunnel.passes(self.starter)
        self.target = (self.tunnel.subject.outer(), LISTEN_PORT)
        self.socket = self.tunnel.other.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        lab.closing.callback(self.socket.close)
        self.endpoint = self._endpoint()
        self.mark()

    def mark(self):
        """Remembers what must stay as it is."""
        self.dropped = self.daemon.dropped()
        self.resident = self.daemon.resident_bytes()
        self.descriptors = self.daemon.descriptor_count()

    def _endpoint(self) -> list[str] | None:
        return self.daemon.peer(self.tunnel.other.key.public).get("endpoint")

    def send(self, *datagrams: bytes):
        for datagram in datagrams:
            self.socket.sendto(datagram, self.target)

    def survived(self, drops: int):
        """Fails unless the tunnel passes, the drops are counted and nothing has grown."""
        assert self.daemon.is_alive, self.daemon.log
        self.tunnel.passes(self.tunnel.subject, seconds=20)
        self.tunnel.passes(self.tunnel.other, seconds=20)
        assert self._endpoint() == self.endpoint, "the attacker became the endpoint"
        wait_until(lambda: self.daemon.descriptor_count() <= self.descriptors, 3,
                   "connections to the UAPI socket are closed: descriptors leak")
        growth = self.daemon.resident_bytes() - self.resident
        assert growth < RESIDENT_GROWTH_MAX, f"{growth} bytes more in memory"
        if not is_reference_under_test():
            wait_until(lambda: self.daemon.dropped() - self.dropped >= drops * 0.9, 5,
                       f"{drops} drops are counted")


@each([*OWN, INTEROPERATION[0], Pair(False, "subject", "2")])
def test_random_bytes_of_every_size(lab, pair):
    attack, noise = Attack(lab, pair), random.Random(1)
    for turn in range(2):
        for size in range(0, 2001):
            attack.send(noise.randbytes(size))
            if size % 100 == 0:
                time.sleep(0.005)
    attack.survived(drops=4000)


@each([*OWN, Pair(False, "subject", "2")])
def test_every_message_type_of_every_size(lab, pair):
    """Right first word, wrong length or wrong rest; reserved bytes set, too."""
    attack, noise, count = Attack(lab, pair), random.Random(2), 0
    for kind in (0, 1, 2, 3, 4, 5, 255):
        for reserved in (bytes(3), b"\1\0\0", b"\0\0\1"):
            for size in [*range(0, 300, 3), 147, 148, 149, 91, 92, 93, 63, 64, 65, 31, 32, 33,
                         1452, 1453, 1500, 9000, 60000]:
                attack.send(bytes([kind]) + reserved + noise.randbytes(size))
                count += 1
        time.sleep(0.02)
    attack.survived(drops=int(count * 0.9))


def test_huge_datagrams(lab):
    """65,507 bytes, the largest UDP carries over IPv4, fragmented on the way."""
    attack = Attack(lab)
    for first in (b"\1\0\0\0", b"\4\0\0\0", os.urandom(4)):
        for _ in range(30):
            attack.send(first + os.urandom(65503))
            time.sleep(0.002)
    attack.survived(drops=60)


@each([*OWN, Pair(False, "subject", "2")])
@pytest.mark.parametrize("size", [1, 16, 31, 33, 148, 700, 1400])
def test_many_segments_in_one_receive(lab, pair, size):
    """UDP_SEGMENT crosses a veth whole, so that the receiver's UDP_GRO hands over many at once."""
    attack, count = Attack(lab, pair), min(60, 60000 // size)
    attack.socket.setsockopt(socket.SOL_UDP, UDP_SEGMENT, size)
    for kind in (1, 2, 3, 4, 9):
        segments = (bytes([kind, 0, 0, 0]) + os.urandom(size))[:size] * count
        # The last segment is shorter than the others.
        attack.send(segments, segments[: max(1, len(segments) - size // 2)])
    attack.survived(drops=int(5 * count * 0.9))


def captured(attack: Attack, kind: int) -> list[bytes]:
    """Returns IP packets of the other end that carry messages of a kind, seen on the link."""
    with Wiretap(attack.tunnel.other.namespace) as tap:
        for _ in range(5):
            attack.tunnel.passes(attack.tunnel.other)
            attack.tunnel.passes(attack.tunnel.subject)
        return [m.packet for m in tap.messages(kind, source=attack.tunnel.other.outer())]


def inject(namespace: Namespace, target: str, packets: list[bytes]):
    """Sends whole IP packets from the attacker's side, their forged sources included.

    A tap sees datagrams before the device would have filled in the UDP checksum; zero, for
    none, keeps the receiver's kernel from dropping them.
    """
    with namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for index, packet in enumerate(packets):
            raw.sendto(packet[:26] + bytes(2) + packet[28:], (target, 0))
            if index % 50 == 49:
                time.sleep(0.002)


@each([*OWN, INTEROPERATION[0], Pair(False, "subject", "2")])
def test_replayed_data_is_dropped(lab, pair):
    attack = Attack(lab, pair)
    packets = [p for p in captured(attack, DATA) if len(p) > 28 + KEEPALIVE_BYTES]
    assert len(packets) >= 10
    with attack.tunnel.subject.bind(port=5555):
        before = attack.daemon.received_bytes(attack.tunnel.other.key.public)
        inject(attack.tunnel.other.namespace, attack.target[0], packets * 50)
        time.sleep(0.2)
        after = attack.daemon.received_bytes(attack.tunnel.other.key.public)
    assert after - before < 500, "replays were counted as received"
    attack.survived(drops=len(packets) * 50)


@pytest.mark.parametrize("pair", [Pair(False, "other"), Pair(True, "other")], ids=str)
def test_replayed_handshake_is_dropped(lab, pair):
    """Neither an initiation nor a response works twice, from wherever it comes."""
    tunnel = pair.build(lab)
    with Wiretap(tunnel.other.namespace) as tap:
        tunnel.passes(tunnel.other)
        handshake = [m.packet for m in tap.messages()
                     if m.kind in (INITIATION, RESPONSE) and m.source == tunnel.other.outer()]
    assert handshake
    before = tunnel.subject.daemon.last_handshake(tunnel.other.key.public)
    moved = bytearray(handshake[0])
    struct.pack_into(">H", moved, 20, 6666)
    for packet in [*handshake * 20, bytes(moved)]:
        inject(tunnel.other.namespace, tunnel.subject.outer(), [packet])
        time.sleep(0.03)
    time.sleep(0.2)
    assert tunnel.subject.daemon.last_handshake(tunnel.other.key.public) == before
    tunnel.passes(tunnel.subject)
    tunnel.passes(tunnel.other)


@each([*OWN, Pair(False, "subject", "2")])
def test_forged_data_with_a_living_index_is_dropped(lab, pair):
    """Every kind of damage to a captured packet of the session in use."""
    attack, noise = Attack(lab, pair), random.Random(3)
    payloads = [p[28:] for p in captured(attack, DATA)]
    forged = []
    for payload in payloads[:20]:
        index = payload[4:8]
        for size in (0, 1, 15, 16, 17, 32, 100, 1420, 1436, 1500, 8000):
            counter = struct.pack("<Q", noise.choice([0, 1, 10_000, 1 << 40, (1 << 64) - 1]))
            forged.append(b"\4\0\0\0" + index + counter + noise.randbytes(size))
        for position in range(len(payload)):
            damaged = bytearray(payload)
            damaged[position] ^= 1 << noise.randrange(8)
            forged.append(bytes(damaged))
        forged.extend(payload[:size] for size in range(len(payload)))
    for start in range(0, len(forged), 50):
        attack.send(*forged[start:start + 50])
        time.sleep(0.003)
    attack.survived(drops=int(len(forged) * 0.9))


def test_initiations_with_valid_mac1_and_nonsense_inside(lab):
    """What costs the responder a Diffie-Hellman each, from one address."""
    attack = Attack(lab)
    key = first_mac_key(attack.tunnel.subject.key.public)
    for index in range(2000):
        body = struct.pack("<II", INITIATION, index) + os.urandom(108)
        attack.send(body + mac(key, body) + bytes(16))
        if index % 50 == 0:
            time.sleep(0.005)
    # Low-order points as ephemeral keys (RFC 7748, section 6.1).
    for point in (bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"):
        body = struct.pack("<II", INITIATION, 7) + point + os.urandom(76)
        attack.send(body + mac(key, body) + bytes(16))
    attack.survived(drops=1500)


@pytest.mark.parametrize("kind, size", [(3, 64), (1, 148)])
def test_forgeries_without_the_key_put_nobody_under_load(lab, kind, size):
    """Who does not know our public key must not make newcomers fetch a cookie first."""
    bench = Bench(lab)
    forger = bench.peer.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lab.closing.callback(forger.close)
    # A machine that does not run us lets messages gather, which is load; that passes.
    for _ in range(8):
        for _ in range(500):
            for _ in range(10):
                forged = bytes([kind, 0, 0, 0]) + os.urandom(size - 4)
                forger.sendto(forged, ("192.0.2.1", LISTEN_PORT))
            time.sleep(0.002)
        bench.peer.send(bench.peer.initiation())
        answer, _ = bench.peer.receive(ARRIVAL_SECONDS)
        if answer[0] == RESPONSE:
            break
        time.sleep(1.5)
    assert answer[0] == RESPONSE


def test_stranger_with_a_valid_handshake_gets_no_answer(lab):
    """A whole, correct initiation of a key that is nobody's peer: silence."""
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    stranger = WirePeer(
        tunnel.other.namespace, (tunnel.subject.outer(), LISTEN_PORT), tunnel.subject.key.public)
    try:
        for _ in range(3):
            stranger.send(stranger.initiation())
            assert stranger.receive(0.3) is None
    finally:
        stranger.close()
    assert tunnel.subject.daemon.peer(stranger.key.public) is None


def test_repeated_attacks_do_not_grow_the_process(lab):
    """The same mixture five times: memory after the first round is memory after the last."""
    attack, noise = Attack(lab), random.Random(4)
    rounds = []
    for _ in range(5):
        for index in range(4000):
            size = noise.choice([0, 16, 32, 64, 92, 148, 1000, 1472])
            attack.send(bytes([noise.choice([1, 2, 3, 4])]) + bytes(3) + noise.randbytes(size))
            if index % 100 == 0:
                time.sleep(0.004)
        attack.tunnel.passes()
        rounds.append(attack.daemon.resident_bytes())
    limit = (4 << 20) if not is_reference_under_test() else RESIDENT_GROWTH_MAX
    assert rounds[-1] - rounds[0] < limit, rounds
    attack.survived(drops=16000)


def test_hostile_replies_to_an_initiator(lab):
    """Responses and cookie replies that answer nothing, or answer wrongly, while it waits."""
    bench = Bench(lab, is_initiator=False)
    with bench.end.bind() as client:
        client.sendto(b"x", (PEER_INNER, 9))
        initiation, _ = bench.peer.receive(ARRIVAL_SECONDS, INITIATION)
        index = initiation[4:8]
        for size in (10, 63, 64, 65, 91, 92, 93, 148, 1000):
            for kind in (2, 3):
                bench.peer.send(bytes([kind, 0, 0, 0]) + os.urandom(4) + index + os.urandom(size))
                bench.peer.send((bytes([kind, 0, 0, 0]) + index + os.urandom(size))[:max(8, size)])
        response, session = bench.peer.answer(initiation)
        damaged = bytearray(response)
        damaged[50] ^= 1
        damaged[60:76] = mac(first_mac_key(bench.end.key.public), bytes(damaged[:60]))
        bench.peer.send(bytes(damaged))
        bench.peer.send(response)
        message, _ = bench.peer.receive(ARRIVAL_SECONDS, DATA)
        assert session.open(message) is not None
    assert bench.delivers(session.seal(bench.inner(b"well")), b"well")


def test_authentic_noise_from_a_malicious_peer(lab):
    """A peer with a session sends random insides; only true IP from its own address gets in."""
    bench = Bench(lab)
    session, noise = session_of(bench), random.Random(5)
    resident = bench.end.daemon.resident_bytes()
    for index in range(3000):
        body = bytearray(noise.randbytes(noise.randrange(0, 1440)))
        if index % 3 and len(body) > 20:
            body[0] = noise.choice([0x45, 0x46, 0x4F, 0x40, 0x60, 0x6F])
            if index % 3 == 2:
                body[12:16] = socket.inet_aton(PEER_INNER)
        bench.peer.send(session.seal(bytes(body), is_padded=bool(index % 2)))
        if index % 50 == 0:
            time.sleep(0.003)
    for _ in range(200):  # forged headers in front of TCP, as coalescing would merge them
        options = noise.randbytes(noise.choice([0, 4, 40, 41]))
        packet = ipv4(PEER_INNER, "10.77.0.1", 6, noise.randbytes(13) + bytes(7) + options)
        bench.peer.send(session.seal(packet))
    assert bench.delivers(session.seal(bench.inner(b"after")), b"after")
    assert bench.end.daemon.resident_bytes() - resident < RESIDENT_GROWTH_MAX


def test_what_is_sent_has_the_sizes_of_the_protocol(lab):
    """Nothing leaves that wireguard-go would drop as malformed."""
    tunnel = make_tunnel(lab, branchlined(), wireguard_go())
    with Wiretap(tunnel.other.namespace) as tap:
        tunnel.passes()
        tunnel.passes(tunnel.other)
        sizes = {INITIATION: {148}, RESPONSE: {92}}
        for message in tap.messages(source=tunnel.subject.outer()):
            assert message.payload[1:4] == bytes(3)
            assert len(message.payload) in sizes.get(message.kind, {len(message.payload)})
            assert message.kind != DATA or (len(message.payload) - 32) % 16 == 0
