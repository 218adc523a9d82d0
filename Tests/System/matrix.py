"""The book of markers and the watchers of the isolation matrix.

Every packet carries a marker of its own and a set of places where it may be seen. Watchers read
every device of every domain, server and site, the outer link, the gateway's own namespace, and
what each branch can decrypt. A marker at any other place is a crossing. After each kind of
packets, legitimate ones must be seen by every watcher, so that none is blind, and must not be
seen elsewhere.
"""

import contextlib
import os
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import forgery
from hostilepeer import HostilePeer
from lab import Lab, Namespace, is_reference_under_test
from threetenants import (
    BRANCH_PORT, BRANCHES, OUTER, SERVER, SERVICE_PORT, Headquarters, Tenant, branch)
from wiretap import DATA

MARKER_BYTES = 16
SIGHTING_SECONDS_MAX = 10.0
QUIET_SECONDS = 0.1
DOWNLINK_SPAN = ("server", "cluster", "tun")
PACKET_STATISTICS, SOL_PACKET = 6, 263
CLEAR_PORT = 9


@dataclass
class Marker:
    """What one packet carries: where it may be seen, and where it was."""

    raw: bytes
    kind: str
    name: str
    allowed: frozenset[str]
    expected: frozenset[str] = frozenset()
    # A replay shows on the TUN device a second time.
    is_once: bool = False
    seen: Counter = field(default_factory=Counter)
    entered: Counter = field(default_factory=Counter)

    def missing(self) -> list[str]:
        return [place for place in self.expected if not self.seen[place]]


@dataclass
class Result:
    """Crossings are the keys, texts "kind: packet at place", in the order of their sighting."""

    hostile_packets: int = 0
    control_packets: int = 0
    crossings: dict[str, None] = field(default_factory=dict)
    blind: list[str] = field(default_factory=list)
    # Crossings of each kind.
    kinds: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        return {"hostile_packets": self.hostile_packets, "crossings": len(self.crossings)}


class Watcher:
    """Reads what all devices of a namespace send and receive; places are named by device."""

    def __init__(self, namespace: Namespace, name_of):
        self.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
        self.socket.setblocking(False)
        self._name_of = name_of

    def frames(self):
        """Yields (place, whether it came in, bytes)."""
        while True:
            try:
                frame, address = self.socket.recvfrom(1 << 17)
            except BlockingIOError:
                return
            yield self._name_of(address[0]), address[2] != socket.PACKET_OUTGOING, frame

    def lost(self) -> int:
        raw = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        return struct.unpack("II", raw)[1]


def own(tenant: Tenant, *names: str) -> frozenset[str]:
    """A tenant's places: those named, or all of them."""
    names = names or (*DOWNLINK_SPAN, "lo", "gone", *map(str, BRANCHES), "4")
    return frozenset(f"{tenant}.{name}" for name in names)


class Matrix:
    """The tenants, the watchers and the book of markers."""

    def __init__(self, lab: Lab, gateway: str | None = None,
                 patience: float = SIGHTING_SECONDS_MAX):
        self.headquarters = Headquarters(lab, gateway)
        self.patience = patience
        self.lab, self.tenants = lab, self.headquarters.tenants
        self.gateway = self.headquarters.gateway
        self.result, self.kind = Result(), ""
        self._nonce, self._markers = os.urandom(8), {}
        # Of the current kind: those that were not seen everywhere yet.
        self._awaited: list[Marker] = []
        self.strangers: list[HostilePeer] = []
        self._raw: dict[tuple[str, int], socket.socket] = {}
        self._links: dict[tuple[str, str, int], socket.socket] = {}
        self._watchers = list(self._watch())
        for watcher in self._watchers:
            lab.closing.callback(watcher.socket.close)

    def _watch(self):
        yield Watcher(self.headquarters.underlay, lambda device: "underlay")
        yield Watcher(self.headquarters.host, lambda device: "gateway")
        for tenant in self.tenants:
            names = {tenant.interface: "tun", "cluster0": "cluster", "lo": "lo"}
            yield Watcher(tenant.domain, self._naming(tenant, names))
            yield Watcher(tenant.server, self._naming(tenant, {"eth0": "server", "lo": "lo"}))
            yield Watcher(tenant.site, self._naming(tenant, {"veth0": "site", "lo": "site"}))

    @staticmethod
    def _naming(tenant: Tenant, names: dict[str, str]):
        # What a removed device has seen has no name any more.
        return lambda device: f"{tenant}.{names.get(device, device) or 'gone'}"

    @property
    def pairs(self) -> list[tuple[Tenant, Tenant]]:
        """(attacker, victim), each tenant once in each part."""
        return list(zip(self.tenants, self.tenants[1:] + self.tenants[:1]))

    @property
    def peers(self) -> list[HostilePeer]:
        return [p for t in self.tenants for p in t.peers.values()] + self.strangers

    # Markers

    def _book(self, name: str, allowed, **fields) -> bytes:
        raw = self._nonce + struct.pack(">Q", len(self._markers))
        marker = Marker(raw, self.kind, name, frozenset(allowed), **fields)
        self._markers[raw] = marker
        if marker.expected:
            self._awaited.append(marker)
        return raw

    def mark(self, name: str, allowed=(), expected=(), is_once: bool = False) -> bytes:
        """Returns the marker of one hostile packet, to be seen in `allowed` only."""
        self.count()
        return self._book(
            name, {*allowed, *expected}, expected=frozenset(expected), is_once=is_once)

    def count(self, packets: int = 1):
        """Counts hostile packets that carry no marker."""
        self.result.hostile_packets += packets

    def control(self, name: str, expected, allowed=()) -> bytes:
        """Returns the marker of a legitimate packet, which must be seen in `expected`."""
        self.result.control_packets += 1
        return self._book(name, {*expected, *allowed}, expected=frozenset(expected))

    def crossing(self, text: str, marker: Marker | None = None):
        """Notes what crossed without a marker, or a marker where it must not be."""
        kind = marker.kind if marker else self.kind
        serial = f" (packet {int.from_bytes(marker.raw[8:], 'big')})" if marker else ""
        self.result.crossings[f"{kind}: {text}{serial}"] = None

    # Sending

    def raw(self, namespace: Namespace, packet: bytes):
        """Sends a whole IP packet from a namespace, forged source included."""
        version = packet[0] >> 4
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        key = (namespace.name, version)
        if key not in self._raw:
            made = namespace.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self.lab.closing.callback(made.close)
            self._raw[key] = made
        start, end = (16, 20) if version == 4 else (24, 40)
        target = socket.inet_ntop(family, packet[start:end])
        try:
            self._raw[key].sendto(packet, (target, 0))
        except OSError:
            pass  # No route from here, which is one way not to cross.

    def frame(self, namespace: Namespace, device: str, packet: bytes, hardware: bytes | None):
        """Puts a packet on a device, as if its host had sent it; no Ethernet on a TUN device."""
        kind = 0x0800 if packet[:1] < b"\x60" else 0x86DD
        key = (namespace.name, device, kind)
        if key not in self._links:
            with namespace.entered():
                link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            link.bind((device, kind))
            self.lab.closing.callback(link.close)
            self._links[key] = link
        if hardware is not None:
            own_hardware = self._links[key].getsockname()[4]
            packet = hardware + own_hardware + struct.pack(">H", kind) + packet
        try:
            self._links[key].send(packet)
        except OSError:
            pass  # The device is down or gone.

    def stranger(self, tenant: Tenant, place: str, **options) -> HostilePeer:
        """Returns another peer that speaks to a tenant's gateway; watched like the others."""
        made = HostilePeer(
            tenant.site, (OUTER[4], tenant.port), tenant.key.public, place=place, **options)
        self.lab.closing.callback(made.close)
        self.strangers.append(made)
        return made

    # Watching

    def look(self):
        """Takes in what the watchers have seen."""
        for watcher in self._watchers:
            for place, is_incoming, frame in watcher.frames():
                self._note(place, frame, is_incoming)
        sessions = {session.local: (peer, session)
                    for peer in self.peers for session in peer.sessions}
        for peer in self.peers:
            for message in peer.take(DATA):
                self._note_datagram(peer, message, sessions)

    def _note_datagram(self, peer: HostilePeer, message: bytes, sessions):
        """What somebody else's endpoint gets has a place of its own, `whose@where`."""
        index = struct.unpack_from("<I", message, 4)[0]
        owner, session = sessions.get(index, (None, None))
        packet = session.open(message) if session else None
        if packet is None:
            return self.crossing(f"{peer.place} got a datagram that no branch can read")
        self._note(owner.place if owner is peer else f"{owner.place}@{peer.place}", packet)

    def _note(self, place: str, data: bytes, is_incoming: bool = False):
        position = data.find(self._nonce)
        while position >= 0:
            marker = self._markers.get(data[position:position + MARKER_BYTES])
            if marker:
                marker.seen[place] += 1
                marker.entered[place] += is_incoming
                text = f"{marker.name} at {place}"
                if place not in marker.allowed:
                    self.crossing(text, marker)
                if marker.is_once and place.endswith(".tun") and marker.entered[place] > 1:
                    self.crossing(f"{text}, a second time", marker)
            position = data.find(self._nonce, position + 1)

    def await_expected(self) -> list[str]:
        """Waits until all expected sightings were made; returns those that were not."""
        deadline = time.monotonic() + self.patience
        while True:
            self.look()
            self._awaited = [marker for marker in self._awaited if marker.missing()]
            if not self._awaited or time.monotonic() > deadline:
                return [f"{self.kind}: {marker.name} not at {place}"
                        for marker in self._awaited for place in marker.missing()]
            time.sleep(0.01)

    @contextlib.contextmanager
    def drops(self, tenant: Tenant):
        """The hostile packets of the body arrive at the gateway, and it counts their drops."""
        before, packets = tenant.uapi.dropped(), self.result.hostile_packets
        yield
        if is_reference_under_test():
            return
        wanted = before + self.result.hostile_packets - packets
        deadline = time.monotonic() + self.patience
        while (dropped := tenant.uapi.dropped()) < wanted:
            if time.monotonic() > deadline:
                self.result.blind.append(
                    f"{self.kind}: {tenant} counts {dropped - before} drops for "
                    f"{wanted - before} packets")
                return
            time.sleep(0.02)

    # Controls

    def controls(self):
        """Legitimate packets of everybody: each watcher sees them, and nobody else does.

        A packet may be lost on a busy machine; what is missing twice cannot be seen.
        """
        missing = self._pass()
        if missing:
            self._awaited = []
            self.result.blind += self._pass()

    def _pass(self) -> list[str]:
        """Sends one packet each way for each branch; returns which were not seen where."""
        for tenant in self.tenants:
            for number in (1, 2):
                for family in (4, 6):
                    mark = self.control("uplink", own(tenant, *DOWNLINK_SPAN))
                    tenant.peers[number].say(self.uplink(tenant, number, family, mark))
            for family in (4, 6):
                mark = self.control(
                    "between branches", own(tenant, "tun", "2"), own(tenant, "1"))
                tenant.peers[1].say(forgery.udp(branch(1, family), branch(2, family), mark))
            self._clear_control(tenant)
        # A server's filter knows the flow once it has seen its first packet.
        self.await_expected()
        for tenant in self.tenants:
            for number in (1, 2):
                for family in (4, 6):
                    self.downlink(tenant, number, self.control("downlink", own(
                        tenant, *DOWNLINK_SPAN, str(number))), family)
        return self.await_expected()

    def _clear_control(self, tenant: Tenant):
        places = (f"{tenant}.site", "underlay", "gateway")
        mark = self.control("outside", places)
        self.raw(tenant.site, forgery.udp(
            tenant.outer(), OUTER[4], mark, (CLEAR_PORT, CLEAR_PORT)))

    @staticmethod
    def uplink(tenant: Tenant, number: int, family: int, payload: bytes) -> bytes:
        """A branch's packet to its server, which opens a flow that the server may answer."""
        return forgery.udp(branch(number, family), SERVER[family], payload,
                           (BRANCH_PORT, SERVICE_PORT))

    @staticmethod
    def downlink(tenant: Tenant, number: int, payload: bytes, family: int = 4):
        tenant.services[family].sendto(payload, (branch(number, family), BRANCH_PORT))

    def shake(self):
        """New sessions for everybody, which also brings every endpoint back home."""
        for tenant in self.tenants:
            for number in (1, 2):
                tenant.peers[number].shake()

    # Running

    def run(self, kinds, is_verbose: bool = False) -> Result:
        """Runs `kinds`, functions of (matrix) or of (matrix, attacker, victim).

        A kind that cannot go on, as where nobody answers a handshake, is as good as blind.
        """
        for kind in kinds:
            began, sent = time.monotonic(), self.result.hostile_packets
            crossed = len(self.result.crossings)
            self.kind, self._awaited = kind.__name__.replace("_", " "), []
            try:
                self._run(kind)
            except AssertionError as error:
                self.result.blind.append(f"{self.kind}: {error}")
                self.look()
            if not self.gateway.is_alive():
                self.result.blind.append(f"{self.kind}: the gateway has ended")
                break
            packets = self.result.hostile_packets - sent
            crossings = len(self.result.crossings) - crossed
            self.result.kinds[self.kind] = crossings
            if is_verbose:
                seen = sum(bool(m.seen) for m in self._markers.values() if m.kind == self.kind)
                print(f"{self.kind:26} {packets:5} packets, {seen:5} of all seen, {crossings:5} "
                      f"crossings, {time.monotonic() - began:5.2f} s", file=sys.stderr)
        lost = sum(watcher.lost() for watcher in self._watchers)
        if lost:
            self.result.blind.append(f"watchers lost {lost} frames")
        return self.result

    def _run(self, kind):
        self.shake()
        if kind.__code__.co_argcount == 1:
            kind(self)
        else:
            for attacker, victim in self.pairs:
                kind(self, attacker, victim)
        self.result.blind += self.await_expected()
        self._awaited = []
        self.shake()
        self.controls()
        time.sleep(QUIET_SECONDS)
        self.look()
