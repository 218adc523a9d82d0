"""Watches the outer link: every UDP datagram that a namespace's veth sends or receives."""

import socket
import struct
import time
from dataclasses import dataclass

from lab import Namespace

INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4
INITIATION_BYTES, RESPONSE_BYTES, COOKIE_BYTES, KEEPALIVE_BYTES = 148, 92, 64, 32
ETHERNET_BYTES = 14


@dataclass(frozen=True)
class Datagram:
    """One UDP datagram; `at` is monotonic seconds of its reading, `traffic_class` the ToS byte."""

    at: float
    source: str
    source_port: int
    target: str
    target_port: int
    traffic_class: int
    payload: bytes
    packet: bytes

    @property
    def kind(self) -> int:
        return self.payload[0] if self.payload else 0


def parse_ip(packet: bytes, at: float = 0.0) -> Datagram | None:
    """Reads an IP packet that holds a whole UDP datagram; `None` for anything else."""
    if len(packet) < 28:
        return None
    if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP:
        if struct.unpack_from(">H", packet, 6)[0] & 0x3FFF:
            return None
        header = (packet[0] & 15) * 4
        source, target = packet[12:16], packet[16:20]
        family, traffic_class = socket.AF_INET, packet[1]
    elif packet[0] >> 4 == 6 and len(packet) >= 48 and packet[6] == socket.IPPROTO_UDP:
        header, source, target = 40, packet[8:24], packet[24:40]
        family = socket.AF_INET6
        traffic_class = struct.unpack_from(">H", packet)[0] >> 4 & 0xFF
    else:
        return None
    source_port, target_port, length = struct.unpack_from(">HHH", packet, header)
    payload = packet[header + 8: header + length]
    return Datagram(
        at, socket.inet_ntop(family, source), source_port, socket.inet_ntop(family, target),
        target_port, traffic_class, payload, packet)


class Wiretap:
    """A packet socket on a link; what it saw is read when asked for, times included.

    The kernel's receive timestamps make `at` independent of when it is read.
    """

    SO_TIMESTAMPNS = 35

    def __init__(self, namespace: Namespace, device: str = "veth0", has_ethernet: bool = True):
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, self.SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
        with namespace.entered():
            self._socket.bind((device, 0x0003))
        self._socket.setblocking(False)
        self._header = ETHERNET_BYTES if has_ethernet else 0
        self._seen: list[Datagram] = []

    def __enter__(self) -> "Wiretap":
        return self

    def __exit__(self, *_):
        self._socket.close()

    def datagrams(self) -> list[Datagram]:
        """Returns all UDP datagrams seen since the tap was opened."""
        while True:
            try:
                frame, control, _, _ = self._socket.recvmsg(1 << 17, 256)
            except BlockingIOError:
                return self._seen
            at = time.time()
            for level, kind, data in control:
                if (level, kind) == (socket.SOL_SOCKET, self.SO_TIMESTAMPNS):
                    seconds, nanoseconds = struct.unpack("qq", data[:16])
                    at = seconds + nanoseconds / 1e9
            datagram = parse_ip(frame[self._header:], at)
            if datagram:
                self._seen.append(datagram)

    def messages(self, kind: int | None = None, source: str | None = None) -> list[Datagram]:
        """Returns WireGuard messages of a kind and a sender, all where not named."""
        return [
            d for d in self.datagrams()
            if len(d.payload) >= KEEPALIVE_BYTES and d.payload[0] in (1, 2, 3, 4)
            and kind in (None, d.kind) and source in (None, d.source)]
