"""Two ends of a tunnel, configured and ready for traffic."""

import base64
import itertools
import os
import socket
import time

from lab import Daemon, Key, Lab, Namespace, branchlined, wait_until, wireguard_go

LISTEN_PORT = 51820
MTU = 1420


class End:
    """One side: a daemon with its keys and its outer and inner addresses.

    Side `number` has the outer addresses 192.0.2.N and fd00:2::N and, inside, 10.77.0.N and
    fd77::N.
    """

    def __init__(self, namespace: Namespace, daemon: Daemon, number: int,
                 port: int = LISTEN_PORT):
        self.namespace, self.daemon, self.number, self.port = namespace, daemon, number, port
        self.key = Key()

    def outer(self, family: int = 4) -> str:
        return f"192.0.2.{self.number}" if family == 4 else f"fd00:2::{self.number}"

    def inner(self, family: int = 4) -> str:
        return f"10.77.0.{self.number}" if family == 4 else f"fd77::{self.number}"

    def endpoint(self, family: int = 4) -> str:
        address = self.outer(family)
        return f"{address}:{self.port}" if family == 4 else f"[{address}]:{self.port}"

    def start(self) -> "End":
        """Starts the daemon and gives it key, port, inner addresses and MTU."""
        self.daemon.start()
        self.daemon.set(f"private_key={self.key.private.hex()}", f"listen_port={self.port}")
        name = self.daemon.name
        self.namespace.configure(
            f"address add {self.inner(4)}/24 dev {name}",
            f"address add {self.inner(6)}/64 dev {name} nodad",
            f"link set {name} mtu {MTU} up",
        )
        return self

    def add_peer(self, peer: "End", endpoint: str | None = None, psk: bytes | None = None,
                 keepalive: int | None = None, allowed: tuple[str, ...] | None = None,
                 profile: str | None = None):
        """Adds the other side as a peer with its two inner addresses, or with `allowed`."""
        lines = [f"public_key={peer.key.public.hex()}", "replace_allowed_ips=true"]
        if profile is not None:
            lines.append(f"profile={profile}")
        if endpoint:
            lines.append(f"endpoint={endpoint}")
        if psk is not None:
            lines.append(f"preshared_key={psk.hex()}")
        if keepalive is not None:
            lines.append(f"persistent_keepalive_interval={keepalive}")
        for prefix in allowed or (f"{peer.inner(4)}/32", f"{peer.inner(6)}/128"):
            lines.append(f"allowed_ip={prefix}")
        self.daemon.set(*lines)

    def remove_peer(self, peer: "End"):
        self.daemon.set(f"public_key={peer.key.public.hex()}", "remove=true")

    def bind(self, family: int = 4, kind: int = socket.SOCK_DGRAM, port: int = 0,
             address: str | None = None) -> socket.socket:
        """Returns a socket bound to the inner address."""
        made = self.namespace.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address or self.inner(family), port))
        return made


class Tunnel:
    """A subject (the daemon under test) and another end, joined by a veth pair."""

    def __init__(self, lab: Lab, subject: End, other: End, family: int):
        self.lab, self.subject, self.other, self.family = lab, subject, other, family

    @property
    def ends(self) -> tuple[End, End]:
        return self.subject, self.other

    def opposite(self, end: End) -> End:
        return self.other if end is self.subject else self.subject

    def passes(self, source: End | None = None, family: int = 4, seconds: float = 20.0) -> float:
        """Sends small datagrams until one is echoed; returns the seconds that took, or fails."""
        source = source or self.subject
        return echo(source, self.opposite(source), family, seconds)

    def is_silent(self, source: End | None = None, family: int = 4, seconds: float = 1.0):
        """Fails if a datagram of `source` is answered within `seconds`."""
        source = source or self.subject
        try:
            echo(source, self.opposite(source), family, seconds)
        except AssertionError:
            return
        raise AssertionError("traffic passes where it must not")


def echo(source: End, target: End, family: int = 4, seconds: float = 20.0,
         source_address: str | None = None) -> float:
    """Sends a datagram every 100 ms until one comes back from `target`'s inner address."""
    started = time.monotonic()
    with target.bind(family) as server, source.bind(family, address=source_address) as client:
        server.setblocking(False)
        client.setblocking(False)
        marker = os.urandom(8)
        next_send = 0.0
        while time.monotonic() - started < seconds:
            if time.monotonic() >= next_send:
                client.sendto(marker, server.getsockname())
                next_send = time.monotonic() + 0.1
            try:
                data, origin = server.recvfrom(100)
                server.sendto(data, origin)
            except OSError:
                pass
            try:
                if client.recv(100) == marker:
                    return time.monotonic() - started
            except OSError:
                pass
            time.sleep(0.0005)
    raise AssertionError(
        f"no echo within {seconds} s from {source.daemon.name} ({source.inner(family)}) "
        f"to {target.daemon.name} ({target.inner(family)})")


def outer_link(lab: Lab, one: Namespace, other: Namespace, numbers: tuple[int, int] = (1, 2)):
    """Joins two namespaces and gives them the outer addresses."""
    lab.link(one, other)
    for namespace, number in zip((one, other), numbers):
        namespace.configure(
            f"address add 192.0.2.{number}/24 dev veth0",
            f"address add fd00:2::{number}/64 dev veth0 nodad",
        )


def make_tunnel(lab: Lab, subject: str | None = None, other: str | None = None,
                initiator: str = "both", family: int = 4, psk: bytes | None = None,
                subject_environment: dict[str, str] | None = None,
                other_environment: dict[str, str] | None = None,
                keepalive: int | None = None,
                profiles: tuple[str | None, str | None] = (None, None)) -> Tunnel:
    """Builds a tunnel between two programs.

    `initiator` says who knows the other's endpoint: "subject", "other" or "both". A side that
    knows no endpoint cannot begin a handshake, which fixes the roles. `profiles` are what the
    subject and the other end have for their peer.
    """
    one, two = lab.namespace(), lab.namespace()
    outer_link(lab, one, two)
    first = End(one, lab.daemon(
        one, subject or branchlined(), environment=subject_environment), 1)
    second = End(two, lab.daemon(
        two, other or wireguard_go(), environment=other_environment), 2)
    for end in (first, second):
        end.start()
    first.add_peer(
        second, endpoint=second.endpoint(family) if initiator in ("subject", "both") else None,
        psk=psk, keepalive=keepalive, profile=profiles[0])
    second.add_peer(
        first, endpoint=first.endpoint(family) if initiator in ("other", "both") else None,
        psk=psk, keepalive=keepalive, profile=profiles[1])
    return Tunnel(lab, first, second, family)


class Star:
    """A hub under test and several peers behind a bridge, numbered from 2; the hub is 1."""

    def __init__(self, lab: Lab, programs: list[str], hub: str | None = None):
        self.lab = lab
        switch = lab.namespace()
        switch.configure("link add bridge0 type bridge", "link set bridge0 up")
        numbers = itertools.count(1)
        self.hub = self._attach(switch, hub or branchlined(), next(numbers))
        self.peers = [self._attach(switch, program, next(numbers)) for program in programs]

    def _attach(self, switch: Namespace, program: str, number: int) -> End:
        namespace = self.lab.namespace()
        self.lab.link(namespace, switch, "veth0", f"port{number}")
        switch.configure(f"link set port{number} master bridge0")
        namespace.configure(
            f"address add 192.0.2.{number}/24 dev veth0",
            f"address add fd00:2::{number}/64 dev veth0 nodad",
        )
        return End(namespace, self.lab.daemon(namespace, program), number).start()

    def join(self, hub_allows: dict[int, tuple[str, ...]] | None = None):
        """Makes every peer know the hub (whole inner network) and the hub every peer."""
        for peer in self.peers:
            self.hub.add_peer(peer, allowed=(hub_allows or {}).get(peer.number))
            peer.add_peer(
                self.hub, endpoint=self.hub.endpoint(), allowed=("10.77.0.0/16", "fd77::/64"))


def new_psk() -> bytes:
    return os.urandom(32)


def base64_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def wait_for_handshake(end: End, peer: End, after: float = 0.0, seconds: float = 10.0) -> float:
    """Waits until `end` shows a handshake with `peer` later than `after` (wall clock)."""

    def newer() -> float:
        shown = end.daemon.last_handshake(peer.key.public)
        return shown if shown > after else 0.0

    return wait_until(newer, seconds, f"a handshake after {after}")
