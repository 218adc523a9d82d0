"""Bytes arrive intact through every pair of implementations, both ways."""

import socket

import pytest

from lab import branchlined, wireguard_go
from pairs import CORE, INTEROPERATION, OWN, WORKERS, each
from traffic import Worker, tcp_transfer, udp_sizes
from tunnel import MTU, Star, echo

MEGABYTE = 1_000_000
FRAGMENTED_SIZES = (1700, 2000, 2837, 4000, 9000, 16384, 65507)


@each(CORE + WORKERS)
def test_tcp_bulk_arrives_intact_both_ways(lab, pair):
    tunnel = pair.build(lab)
    starter = tunnel.subject if pair.initiator == "subject" else tunnel.other
    tunnel.passes(starter)
    tcp_transfer(tunnel.subject, tunnel.other, 100 * MEGABYTE)
    tcp_transfer(tunnel.other, tunnel.subject, 100 * MEGABYTE)


@each(CORE + WORKERS)
def test_tcp_duplex_over_ipv6_arrives_intact(lab, pair):
    tunnel = pair.build(lab)
    starter = tunnel.subject if pair.initiator == "subject" else tunnel.other
    tunnel.passes(starter, family=6)
    tcp_transfer(tunnel.subject, tunnel.other, 30 * MEGABYTE, family=6, is_duplex=True)


@each(CORE + WORKERS)
def test_datagram_of_every_size_arrives_intact(lab, pair):
    """From 0 past the MTU, where the sender's kernel fragments, to the largest there is."""
    tunnel = pair.build(lab)
    starter = tunnel.subject if pair.initiator == "subject" else tunnel.other
    for family in (4, 6):
        tunnel.passes(starter, family)
        for source in tunnel.ends:
            sizes = [*range(0, MTU + 181), *FRAGMENTED_SIZES]
            udp_sizes(source, tunnel.opposite(source), sizes, family, salt=source.number)


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
@each([INTEROPERATION[0], INTEROPERATION[1], *OWN])
def test_each_family_carries_each(lab, pair, outer, inner):
    tunnel = pair.build(lab, family=outer)
    starter = tunnel.subject if pair.initiator == "subject" else tunnel.other
    tunnel.passes(starter, inner)
    tcp_transfer(tunnel.subject, tunnel.other, 10 * MEGABYTE, inner, is_duplex=True)


@each(OWN + [INTEROPERATION[0]])
def test_many_tcp_streams_at_once_arrive_intact(lab, pair):
    tunnel = pair.build(lab)
    tunnel.passes()
    streams = [
        Worker(tcp_transfer, *order, 10 * MEGABYTE, family)
        for family in (4, 6) for order in (tunnel.ends, tunnel.ends[::-1]) for _ in range(2)]
    for stream in streams:
        stream.result()


def test_hub_serves_several_peers_at_once(lab):
    """A hub carries bytes with each peer, and between two peers that only know the hub."""
    star = Star(lab, [wireguard_go(), wireguard_go(), branchlined()])
    star.join()
    star.hub.namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for peer in star.peers:
        echo(peer, star.hub)
        tcp_transfer(star.hub, peer, 10 * MEGABYTE, is_duplex=True)
    for source, target in ((0, 1), (1, 2), (2, 0)):
        echo(star.peers[source], star.peers[target])
        tcp_transfer(star.peers[source], star.peers[target], 10 * MEGABYTE)


@each(CORE)
def test_ping_of_kernel_passes(lab, pair):
    """The kernel's own ICMP, whose checksum no transport offload covers."""
    tunnel = pair.build(lab)
    starter = tunnel.subject if pair.initiator == "subject" else tunnel.other
    tunnel.passes(starter)
    for size in ("0", "56", "1392", "8000"):
        tunnel.subject.namespace.run(
            "ping", "-c", "2", "-i", "0.01", "-W", "15", "-s", size, tunnel.other.inner())


def test_udp_without_checksum_passes(lab):
    """A sender may leave the IPv4 UDP checksum out; the tunnel must not invent one."""
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    with tunnel.other.bind() as server, tunnel.subject.bind() as client:
        client.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
        for count in (0, 1, 500, 1392):
            client.sendto(b"n" * count, server.getsockname())
            assert server.recv(2000) == b"n" * count
