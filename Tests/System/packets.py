"""Builds inner IP packets, right and wrong ones."""

import ipaddress
import struct


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, protocol: int, payload: bytes, traffic_class: int = 0,
         fragment: int = 0, ttl: int = 64, identification: int = 0) -> bytes:
    """Returns an IPv4 packet; `fragment` is the 16-bit field of flags and offset."""
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, traffic_class, 20 + len(payload), identification, fragment, ttl,
        protocol, 0, ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed)
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(source: str, target: str, protocol: int, payload: bytes, traffic_class: int = 0) -> bytes:
    return struct.pack(
        ">IHBB16s16s", 6 << 28 | traffic_class << 20, len(payload), protocol, 64,
        ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed) + payload


def udp(source: tuple[str, int], target: tuple[str, int], payload: bytes,
        traffic_class: int = 0) -> bytes:
    """Returns an IP packet of the addresses' family with a UDP datagram."""
    length = 8 + len(payload)
    header = struct.pack(">HHHH", source[1], target[1], length, 0)
    one, other = ipaddress.ip_address(source[0]), ipaddress.ip_address(target[0])
    pseudo = one.packed + other.packed + struct.pack(">HH", 17, length)
    value = checksum(pseudo + header + payload) or 0xFFFF
    datagram = header[:6] + struct.pack(">H", value) + payload
    build = ipv4 if one.version == 4 else ipv6
    return build(source[0], target[0], 17, datagram, traffic_class)
