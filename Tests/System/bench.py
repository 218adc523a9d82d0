"""The subject against a WireGuard peer in Python, with a view of what arrives inside."""

from lab import Key, branchlined
from packets import udp
from tunnel import LISTEN_PORT, End, outer_link
from wirepeer import Transport, WirePeer
from wiretap import DATA

PEER_INNER, PEER_INNER6 = "10.77.0.2", "fd77::2"
# How long is waited for what must arrive, and for what must not.
ARRIVAL_SECONDS, SILENCE_SECONDS = 15.0, 0.4


class Bench:
    """The subject as side 1, a Python peer as side 2, and the key of a side 3 that is away."""

    def __init__(self, lab, psk: bytes = bytes(32), is_initiator: bool = True,
                 arguments: tuple[str, ...] = ()):
        one, two = lab.namespace(), lab.namespace()
        outer_link(lab, one, two)
        self.end = End(one, lab.daemon(one, branchlined(), arguments=arguments), 1).start()
        self.peer = WirePeer(
            two, ("192.0.2.1", LISTEN_PORT), self.end.key.public, psk, port=LISTEN_PORT)
        lines = [f"public_key={self.peer.key.public.hex()}", f"preshared_key={psk.hex()}",
                 f"allowed_ip={PEER_INNER}/32", f"allowed_ip={PEER_INNER6}/128"]
        if not is_initiator:
            lines.append(f"endpoint=192.0.2.2:{self.peer.port}")
        self.end.daemon.set(
            *lines, f"public_key={Key().public.hex()}", "allowed_ip=10.77.0.3/32",
            "allowed_ip=fd77::3/128")
        self.server = {family: self.end.bind(family, port=7) for family in (4, 6)}
        lab.closing.callback(self.close)

    def close(self):
        self.peer.close()
        for server in self.server.values():
            server.close()

    def inner(self, payload: bytes, family: int = 4, source: str | None = None,
              traffic_class: int = 0) -> bytes:
        """Returns an inner datagram from the peer to the subject's port 7."""
        sender = source or (PEER_INNER if family == 4 else PEER_INNER6)
        return udp((sender, 9), (self.end.inner(family), 7), payload, traffic_class)

    def arrived(self, family: int = 4, seconds: float = ARRIVAL_SECONDS) -> bytes | None:
        self.server[family].settimeout(seconds)
        try:
            return self.server[family].recv(65536)
        except TimeoutError:
            return None

    def delivers(self, message: bytes, payload: bytes, family: int = 4) -> bool:
        """Sends transport data and tells whether its payload arrived inside."""
        self.peer.send(message)
        return self.arrived(family) == payload

    def withholds(self, message: bytes, payload: bytes) -> bool:
        """Sends transport data and tells whether its payload did not arrive inside."""
        self.peer.send(message)
        return self.arrived(seconds=SILENCE_SECONDS) != payload

    def dropped(self) -> int:
        return self.end.daemon.dropped()

    def outgoing(self, session, payload: bytes, family: int = 4, traffic_class: int = 0):
        """Makes the subject send a datagram; returns (padded inner packet, outer ToS)."""
        target = PEER_INNER if family == 4 else PEER_INNER6
        with self.end.bind(family) as client:
            if traffic_class:
                level, name = (0, 1) if family == 4 else (41, 67)  # IP_TOS, IPV6_TCLASS
                client.setsockopt(level, name, traffic_class)
            client.sendto(payload, (target, 9))
        while True:
            message, outer = self.peer.receive(ARRIVAL_SECONDS, DATA)
            packet = session.open(message)
            assert packet is not None, "does not open"
            if packet:
                return packet, outer


def session_of(bench: Bench) -> Transport:
    """Shakes hands and confirms the session with a first datagram."""
    session = bench.peer.shake()
    assert bench.delivers(session.seal(bench.inner(b"first")), b"first")
    return session
