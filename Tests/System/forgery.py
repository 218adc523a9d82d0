"""Builds what honest hosts do not send: options, extension headers, quoted flows, fragments."""

import ipaddress
import struct

from packets import checksum

UDP, TCP, ICMP, ICMPV6 = 17, 6, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT_HEADER, DESTINATION_OPTIONS = 0, 43, 44, 59, 60
MORE_FRAGMENTS = 0x2000


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def family_of(address: str) -> int:
    return ipaddress.ip_address(address).version


def pseudo_header(source: str, target: str, protocol: int, length: int) -> bytes:
    return packed(source) + packed(target) + struct.pack(">HH", protocol, length)


def ip(source: str, target: str, protocol: int, payload: bytes, hops: int = 64,
       options: bytes = b"", fragment: int = 0, identification: int = 0) -> bytes:
    """Returns an IP packet of the addresses' family; options and fragments are IPv4's."""
    if family_of(source) == 6:
        return struct.pack(
            ">IHBB16s16s", 6 << 28, len(payload), protocol, hops, packed(source),
            packed(target)) + payload
    options += bytes(-len(options) % 4)
    header_bytes = 20 + len(options)
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | header_bytes // 4, 0, header_bytes + len(payload), identification,
        fragment, hops, protocol, 0, packed(source), packed(target)) + options
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def udp_datagram(source: str, target: str, payload: bytes, ports: tuple[int, int]) -> bytes:
    length = 8 + len(payload)
    header = struct.pack(">HHHH", *ports, length, 0)
    value = checksum(pseudo_header(source, target, UDP, length) + header + payload) or 0xFFFF
    return header[:6] + struct.pack(">H", value) + payload


def tcp_segment(source: str, target: str, payload: bytes, ports: tuple[int, int],
                sequence: int = 1, flags: int = 0x10) -> bytes:
    header = struct.pack(">HHIIBBHHH", *ports, sequence, 1, 0x50, flags, 8192, 0, 0)
    pseudo = pseudo_header(source, target, TCP, len(header) + len(payload))
    value = checksum(pseudo + header + payload)
    return header[:16] + struct.pack(">H", value) + header[18:] + payload


def icmp_message(source: str, target: str, kind: int, code: int, rest: bytes,
                 body: bytes) -> bytes:
    """Returns an ICMP or ICMPv6 message; `rest` are its bytes 4 to 7."""
    message = struct.pack(">BBH", kind, code, 0) + rest + body
    pseudo = (b"" if family_of(source) == 4
              else pseudo_header(source, target, ICMPV6, len(message)))
    return message[:2] + struct.pack(">H", checksum(pseudo + message)) + message[4:]


def udp(source: str, target: str, payload: bytes, ports: tuple[int, int] = (4000, 7),
        **header) -> bytes:
    return ip(source, target, UDP, udp_datagram(source, target, payload, ports), **header)


def tcp(source: str, target: str, payload: bytes, ports: tuple[int, int] = (4000, 7),
        sequence: int = 1, flags: int = 0x10, **header) -> bytes:
    segment = tcp_segment(source, target, payload, ports, sequence, flags)
    return ip(source, target, TCP, segment, **header)


def icmp(source: str, target: str, kind: int, code: int, body: bytes, rest: bytes = bytes(4),
         **header) -> bytes:
    protocol = ICMP if family_of(source) == 4 else ICMPV6
    message = icmp_message(source, target, kind, code, rest, body)
    return ip(source, target, protocol, message, **header)


def echo_request(source: str, target: str, payload: bytes, **header) -> bytes:
    kind = 8 if family_of(source) == 4 else 128
    return icmp(source, target, kind, 0, payload, b"\0\1\0\1", **header)


# IPv4 options (RFC 791, section 3.1)

def source_route(kind: int, *hops: str) -> bytes:
    """Returns option 131 (loose) or 137 (strict), its pointer at the first hop; 7 records."""
    return bytes([kind, 3 + 4 * len(hops), 4]) + b"".join(map(packed, hops))


# IPv6 extension headers (RFC 8200, section 4)

def extended(source: str, target: str, headers: list[tuple[int, bytes]], protocol: int,
             payload: bytes, hops: int = 64) -> bytes:
    """Chains (type, bytes without the next-header byte) in front of a payload."""
    kinds = [kind for kind, _ in headers] + [protocol]
    chain = b"".join(
        bytes([following]) + body for (_, body), following in zip(headers, kinds[1:]))
    return ip(source, target, kinds[0], chain + payload, hops=hops)


def routing_header(kind: int, segments_left: int, *addresses: str) -> tuple[int, bytes]:
    """Types 0 (RFC 5095), 2 (RFC 6275), 3 (RFC 6554) and 4 (RFC 8754) begin alike."""
    # Byte 4 of type 4 is the last entry's index; the others ignore or reserve it.
    last = len(addresses) - 1 if kind == 4 else 0
    body = bytes([2 * len(addresses), kind, segments_left, last, 0, 0, 0])
    return ROUTING, body + b"".join(map(packed, addresses))


def fragment_header(offset: int, has_more: bool, identification: int) -> tuple[int, bytes]:
    """`offset` in bytes, a multiple of eight."""
    return FRAGMENT, struct.pack(">BHI", 0, offset | has_more, identification)


def options_header(kind: int, options: bytes) -> tuple[int, bytes]:
    """Hop-by-hop or destination options, filled up with PadN."""
    padding = -(len(options) + 2) % 8
    if padding == 1:
        options += b"\0"
    elif padding:
        options += bytes([1, padding - 2]) + bytes(padding - 2)
    return kind, bytes([(len(options) + 2) // 8 - 1]) + options


def neighbour_discovery(source: str, target: str, kind: int, body: bytes,
                        hops: int = 255) -> bytes:
    """Router solicitation 133, advertisement 134, neighbour 135 and 136, redirect 137."""
    return icmp(source, target, kind, 0, body[4:], body[:4], hops=hops)
