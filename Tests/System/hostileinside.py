"""Hostile packets of insiders: branches with good keys, servers, and hosts in a domain.

Each function is one kind. It marks every packet with the places that may see it.
"""

import struct

from forgery import (
    DESTINATION_OPTIONS, HOP_BY_HOP, ICMP, MORE_FRAGMENTS, NO_NEXT_HEADER, TCP, UDP, echo_request,
    extended, fragment_header, icmp, icmp_message, ip, neighbour_discovery, options_header,
    packed, routing_header, source_route, tcp, tcp_segment, udp, udp_datagram)
from matrix import Matrix, own
from lab import run
from threetenants import (
    BRANCH_PORT, BROADCAST, CLUSTER, GATEWAY, OUTER, SERVER, SERVICE_PORT, Tenant, branch)

ALL_HOSTS, ALL_NODES = "224.0.0.1", "ff02::1"
REDIRECT, ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 137, 133, 134
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
LOOSE, STRICT, RECORD_ROUTE, TIMESTAMP = 131, 137, 7, 68
FLOW = (BRANCH_PORT, SERVICE_PORT)
NEW_FLOW = (4444, 4445)


def targets(victim: Tenant, family: int) -> list[str]:
    special = [BROADCAST, ALL_HOSTS] if family == 4 else [ALL_NODES]
    return [SERVER[family], branch(2, family), GATEWAY[family], victim.own(family), *special]


def forged_sources(attacker: Tenant, victim: Tenant, family: int) -> list[str]:
    """What branch 1 may not send from: everything but its own address and networks."""
    if family == 4:
        return [
            branch(2), branch(3), GATEWAY[4], SERVER[4], CLUSTER[4], victim.own(), OUTER[4],
            victim.outer(), attacker.outer(), "10.0.0.0", BROADCAST, "10.0.0.99", "0.0.0.0",
            "127.0.0.1", "255.255.255.255", ALL_HOSTS, "169.254.7.7", "100.64.0.1", "8.8.8.8"]
    return [
        branch(2, 6), branch(3, 6), GATEWAY[6], SERVER[6], CLUSTER[6], victim.own(6), OUTER[6],
        victim.outer(6), "::", "::1", ALL_NODES, "fe80::1", "::ffff:10.0.0.12",
        "::ffff:10.0.0.11", "::10.0.0.11", "2002:a00:b::1", "64:ff9b::a00:b", "fd10::"]


def forged_inner_sources(m: Matrix, attacker: Tenant, victim: Tenant):
    """Nobody sees a packet whose source is not its sender's, not even the sender's tenant."""
    peer = attacker.peers[1]
    with m.drops(attacker):
        for family in (4, 6):
            for source in forged_sources(attacker, victim, family):
                for target in targets(victim, family):
                    name = f"from {source} to {target}"
                    peer.say(udp(source, target, m.mark(f"UDP {name}"), FLOW))
                    peer.say(tcp(source, target, m.mark(f"SYN {name}"), FLOW, flags=2))
                    peer.say(echo_request(source, target, m.mark(f"echo {name}")))


def others_addresses(m: Matrix, attacker: Tenant, victim: Tenant):
    """Own sources, and destinations that only another tenant, or no tenant, has."""
    for family in (4, 6):
        source = branch(1, family)
        for target in (victim.own(family), victim.own(family, 1), victim.outer(family),
                       OUTER[family], "127.0.0.1" if family == 4 else "::1",
                       "10.0.0.99" if family == 4 else "fd10::99", CLUSTER[family]):
            for source in (branch(1, family), attacker.own(family)):
                allowed = own(attacker)
                attacker.peers[1].say(udp(
                    source, target, m.mark(f"UDP to {target}", allowed), NEW_FLOW))
                attacker.peers[1].say(tcp(
                    source, target, m.mark(f"SYN to {target}", allowed), NEW_FLOW, flags=2))
                attacker.peers[1].say(echo_request(
                    source, target, m.mark(f"echo to {target}", allowed)))


def icmp_errors(m: Matrix, attacker: Tenant, victim: Tenant):
    """Errors that quote a flow which, by its addresses, is also every other tenant's."""
    peer, allowed = attacker.peers[1], own(attacker)
    errors = {
        4: [(3, code) for code in (0, 1, 2, 3, 4, 5, 9, 13)] + [
            (4, 0), (5, 0), (5, 1), (11, 0), (11, 1), (12, 0), (9, 0), (17, 0)],
        6: [(1, code) for code in range(7)] + [(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)]}
    for family in (4, 6):
        m.count()
        peer.say(m.uplink(attacker, 1, family, bytes(8)))
        for kind, code in errors[family]:
            for host in (branch(1, family), branch(2, family), victim.own(family)):
                name = f"ICMP {kind}/{code} about {host}"
                quoted = udp(SERVER[family], host, m.mark(name, allowed), FLOW[::-1])
                # The MTU of "too big"; for a redirect its bytes are a gateway.
                rest = packed(victim.own()) if kind == 5 else struct.pack(">I", 1280)
                for target in (SERVER[family], GATEWAY[family], victim.own(family)):
                    peer.say(icmp(branch(1, family), target, kind, code, quoted, rest))
                    m.count()
                forged = udp(SERVER[family], host, m.mark(f"forged {name}"), FLOW[::-1])
                peer.say(icmp(branch(2, family), SERVER[family], kind, code, forged, rest))
        # What the kernel and the engine say themselves.
        for target, port in ((SERVER[family], 9), (GATEWAY[family], 9), (CLUSTER[family], 9)):
            peer.say(udp(branch(1, family), target, m.mark(f"closed port of {target}", allowed),
                         (BRANCH_PORT, port)))
        for target in ("10.0.0.99" if family == 4 else "fd10::99", victim.own(family)):
            m.raw(attacker.domain, udp(
                GATEWAY[family], target, m.mark(f"nobody at {target}", allowed), NEW_FLOW))
            m.raw(attacker.domain, udp(
                branch(1, family), target, m.mark(f"nobody at {target}, from branch 1", allowed),
                NEW_FLOW))


def fragments(m: Matrix, attacker: Tenant, victim: Tenant):
    """Pieces with one identification in all tenants: nothing is put together across them."""
    for family in (4, 6):
        source, target = branch(1, family), SERVER[family]
        # (tenant, offset, bytes, whether more follow)
        plans = {
            "first alone": [(attacker, 0, 32, True)],
            "last alone": [(attacker, 1280, 32, False)],
            "first and another's last": [(attacker, 0, 32, True), (victim, 32, 32, False)],
            "last and another's first": [(attacker, 32, 32, False), (victim, 0, 32, True)],
            "another's middle": [(attacker, 0, 32, True), (victim, 32, 32, True),
                                 (attacker, 64, 32, False)],
            "whole in pieces": [(attacker, 0, 32, True), (attacker, 32, 32, False)],
            "overlap": [(attacker, 0, 48, True), (attacker, 24, 48, False)],
            "another's overlap": [(attacker, 0, 48, True), (victim, 24, 48, False)],
            "tiny first": [(attacker, 0, 24, True), (attacker, 8, 32, False)],
            "beyond 65,535": [(attacker, 65_504, 64, False)],
            "atomic": [(attacker, 0, 32, False)]}
        for number, (name, pieces) in enumerate(plans.items()):
            for sender, offset, size, has_more in pieces:
                mark = m.mark(f"IPv{family} {name}, {sender}+{offset}", own(sender))
                body = mark.rjust(24, b"f").ljust(size, b"f")
                if offset == 0:
                    body = struct.pack(">HHHH", *FLOW, 64, 0) + body[8:]
                sender.peers[1].say(piece(
                    source, target, UDP, body, offset, has_more, 0x4200 + number))
        forged = m.mark(f"IPv{family} later piece from branch 2")
        attacker.peers[1].say(piece(
            branch(2, family), target, UDP, forged, 32, False, 0x4200))
    # The header that decides lies behind the first piece.
    hidden = [routing_header(0, 1, branch(2, 6)), fragment_header(0, True, 77)]
    attacker.peers[1].say(extended(
        branch(1, 6), GATEWAY[6], hidden, UDP,
        udp_datagram(branch(1, 6), GATEWAY[6], m.mark("routing before fragment", own(
            attacker, "tun", "lo", "1")), FLOW)))


def piece(source: str, target: str, protocol: int, body: bytes, offset: int, has_more: bool,
          identification: int) -> bytes:
    if ":" in source:
        header = fragment_header(offset, has_more, identification)
        return extended(source, target, [header], protocol, body)
    field = offset // 8 | (MORE_FRAGMENTS if has_more else 0)
    return ip(source, target, protocol, body, fragment=field, identification=identification)


def broadcast_and_multicast(m: Matrix, attacker: Tenant, victim: Tenant):
    """Packets to many go no further than the gateway's end of the sender's own tunnel."""
    groups = {
        4: ["255.255.255.255", BROADCAST, "10.0.0.0", "10.0.1.255", ALL_HOSTS, "224.0.0.2",
            "224.0.0.5", "224.0.0.22", "224.0.0.251", "224.0.0.252", "232.1.1.1",
            "239.255.255.250", "192.0.2.255", "240.0.0.1", f"10.{100 + victim.number}.0.255"],
        6: ["ff01::1", ALL_NODES, "ff02::2", "ff02::5", "ff02::16", "ff02::fb", "ff02::1:2",
            "ff02::1:ff00:12", "ff05::1", "ff05::1:3", "ff08::1", "ff0e::1", "ff3e::1"]}
    allowed = own(attacker, "tun", "lo", "1")
    for family in (4, 6):
        source = branch(1, family)
        for target in groups[family]:
            # A server network's broadcast address may be passed on to that network.
            places = allowed | (own(attacker) if target == "10.0.1.255" else frozenset())
            for port in (SERVICE_PORT, 67, 137, 547, 1900, 5353):
                attacker.peers[1].say(udp(source, target, m.mark(
                    f"UDP to {target}:{port}", places), (BRANCH_PORT, port)))
            attacker.peers[1].say(echo_request(source, target, m.mark(
                f"echo to {target}", places)))
    dhcp = m.mark("DHCP discovery from nowhere")
    attacker.peers[1].say(udp("0.0.0.0", "255.255.255.255", dhcp, (68, 67)))
    report = m.mark("IGMP report", allowed)
    attacker.peers[1].say(ip(branch(1), "224.0.0.22", 2, b"\x22\0\0\0" + report, hops=1))


def link_local_and_neighbours(m: Matrix, attacker: Tenant, victim: Tenant):
    """Nobody outside the tunnel hears of link-local packets, and no route changes by them."""
    before = routes(m)
    bodies = {
        ROUTER_SOLICITATION: bytes(4),
        # Hop limit, flags, lifetime, timers; then a prefix to use.
        ROUTER_ADVERTISEMENT: struct.pack(">BBHII", 64, 0, 1800, 0, 0)
        + struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + packed("fd99::"),
        NEIGHBOUR_SOLICITATION: bytes(4) + packed(branch(2, 6)),
        NEIGHBOUR_ADVERTISEMENT: struct.pack(">I", 0xE000_0000) + packed(branch(2, 6)),
        REDIRECT: bytes(4) + packed(branch(1, 6)) + packed(SERVER[6]),
        130: bytes(20), 131: bytes(4) + packed(ALL_NODES), 143: bytes(4), 138: bytes(12)}
    for kind, body in bodies.items():
        for source in ("fe80::1", "fe80::b", "::", branch(1, 6), branch(2, 6)):
            for target in (ALL_NODES, "ff02::2", "ff02::1:ff00:12", GATEWAY[6], SERVER[6],
                           victim.own(6), "fe80::1", branch(2, 6)):
                allowed = own(attacker) if source == branch(1, 6) else ()
                mark = m.mark(f"ND {kind} from {source} to {target}", allowed)
                # An option of an unknown type carries the marker.
                body_marked = body + bytes([253, 3]) + bytes(6) + mark
                attacker.peers[1].say(neighbour_discovery(source, target, kind, body_marked))
    for source in ("fe80::1", "169.254.1.1"):
        family = 6 if ":" in source else 4
        for target in targets(victim, family) + (["fe80::2"] if family == 6 else []):
            attacker.peers[1].say(udp(source, target, m.mark(f"{source} to {target}"), FLOW))
    for source in (branch(1, 6), GATEWAY[6]):
        m.raw(attacker.domain, neighbour_discovery(
            source, victim.own(6), NEIGHBOUR_SOLICITATION,
            bytes(4) + packed(victim.own(6)) + m.mark("ND from the domain", own(attacker))))
    m.await_expected()
    if routes(m) != before:
        m.crossing("a branch changed a domain's routes")


def routes(m: Matrix) -> dict[str, list[str]]:
    """The routes of every domain, without what counts down."""
    return {
        str(tenant): sorted(
            line.split(" expires ")[0] for family in ("-4", "-6")
            for line in run("ip", family, "-n", tenant.domain.name, "route", "show", "table",
                            "all").stdout.splitlines())
        for tenant in m.tenants}


def routing_headers(m: Matrix, attacker: Tenant, victim: Tenant):
    """The gateway is no waypoint: what names it as one goes nowhere else."""
    stops = {"branch 2": branch(2, 6), "server": SERVER[6], "another tenant": victim.own(6),
             "outside": victim.outer(6), "multicast": ALL_NODES, "loopback": "::1"}
    for kind in (0, 1, 2, 3, 4, 5, 253):
        for name, stop in stops.items():
            for left, addresses in ((1, (stop,)), (1, (branch(1, 6), stop)), (2, (stop, stop)),
                                    (255, (stop,)), (0, (stop,))):
                mark = m.mark(f"type {kind} to {name}, {left} left", own(
                    attacker, "tun", "lo", "1"))
                attacker.peers[1].say(extended(
                    branch(1, 6), GATEWAY[6], [routing_header(kind, left, *addresses)], UDP,
                    udp_datagram(branch(1, 6), stop, mark, NEW_FLOW)))
    for chain in ([options_header(HOP_BY_HOP, b"\5\2\0\0"), routing_header(0, 1, branch(2, 6))],
                  [options_header(DESTINATION_OPTIONS, b"\xc9\x10" + packed(branch(2, 6)))],
                  [options_header(HOP_BY_HOP, b"\xc2\4\0\1\0\0")],
                  [options_header(DESTINATION_OPTIONS, b"")] * 9):
        mark = m.mark("chain of headers", own(attacker, "tun", "lo", "1"))
        attacker.peers[1].say(extended(
            branch(1, 6), GATEWAY[6], chain, UDP,
            udp_datagram(branch(1, 6), GATEWAY[6], mark, NEW_FLOW)))
    # Sources that only a header makes look right.
    forged = m.mark("home address option")
    attacker.peers[1].say(extended(
        branch(2, 6), SERVER[6],
        [options_header(DESTINATION_OPTIONS, b"\xc9\x10" + packed(branch(1, 6)))], UDP,
        udp_datagram(branch(1, 6), SERVER[6], forged, NEW_FLOW)))


def source_routes(m: Matrix, attacker: Tenant, victim: Tenant):
    """Options of IPv4 that name the next stop, and others that ask for an answer."""
    for kind in (LOOSE, STRICT):
        for stop in (branch(2), SERVER[4], victim.own(), victim.outer(), "127.0.0.1",
                     "255.255.255.255"):
            for hops in ((stop,), (branch(1), stop), (GATEWAY[4], stop)):
                mark = m.mark(f"option {kind} to {stop}", own(attacker, "tun", "lo", "1"))
                attacker.peers[1].say(udp(
                    branch(1), GATEWAY[4], mark, NEW_FLOW, options=source_route(kind, *hops)))
                mark = m.mark(f"forged, option {kind} to {stop}")
                attacker.peers[1].say(udp(
                    branch(2), GATEWAY[4], mark, NEW_FLOW, options=source_route(kind, *hops)))
    for options in (bytes([RECORD_ROUTE, 39, 4]) + bytes(36), bytes([TIMESTAMP, 36, 5, 1])
                    + bytes(32), b"\x94\4\0\0", b"\x82\x0b" + bytes(9), b"\xff\xff", b"\x83\0",
                    b"\x83\x27\4" + bytes(3)):
        for target in (GATEWAY[4], SERVER[4], victim.own()):
            attacker.peers[1].say(echo_request(
                branch(1), target, m.mark(f"options {options[:2].hex()}", own(attacker)),
                options=options))


def from_the_cluster(m: Matrix, attacker: Tenant, victim: Tenant):
    """A hostile server: nothing that it begins gets into the tunnel."""
    for family in (4, 6):
        allowed = own(attacker, "server", "cluster", "lo")
        link = hardware_address(attacker.domain, "cluster0")
        sources = [SERVER[family], branch(2, family), branch(1, family), GATEWAY[family],
                   CLUSTER[family], victim.own(family), attacker.own(family), OUTER[family],
                   *(["0.0.0.0", "127.0.0.1"] if family == 4 else ["::", "::1", "fe80::99"])]
        goals = [branch(1, family), branch(2, family), attacker.own(family), victim.own(family),
                 OUTER[family], victim.outer(family), GATEWAY[family], CLUSTER[family],
                 *(["255.255.255.255", BROADCAST, "10.0.1.255", ALL_HOSTS] if family == 4
                   else [ALL_NODES, "ff05::1"])]
        for source in sources:
            for target in goals:
                name = f"from {source} to {target}"
                for build in (
                        lambda mark: udp(source, target, mark, NEW_FLOW),
                        lambda mark: tcp(source, target, mark, NEW_FLOW, flags=2),
                        lambda mark: tcp(source, target, mark, NEW_FLOW, flags=0x10),
                        lambda mark: echo_request(source, target, mark),
                        lambda mark: icmp(
                            source, target, 3 if family == 4 else 1, 1,
                            udp(target, source, mark, NEW_FLOW))):
                    m.frame(attacker.server, "eth0", build(m.mark(name, allowed)), link)
        # Stray fragments and a source route to a branch.
        for offset in (0, 64):
            mark = m.mark("fragment inwards", allowed)
            m.frame(attacker.server, "eth0", piece(
                SERVER[family], branch(1, family), UDP, mark.ljust(24), offset, True, 99), link)
    m.frame(attacker.server, "eth0", udp(
        SERVER[4], CLUSTER[4], m.mark("source route inwards", allowed), NEW_FLOW,
        options=source_route(LOOSE, branch(1))), link)
    m.frame(attacker.server, "eth0", extended(
        SERVER[6], CLUSTER[6], [routing_header(0, 1, branch(1, 6))], UDP,
        udp_datagram(SERVER[6], branch(1, 6), m.mark("routing header inwards", allowed), FLOW)),
        link)


def hardware_address(namespace, device: str) -> bytes:
    text = namespace.run("cat", f"/sys/class/net/{device}/address").stdout
    return bytes.fromhex(text.strip().replace(":", ""))


def inside_a_domain(m: Matrix, attacker: Tenant, victim: Tenant):
    """Whoever rules one domain puts anything at all on its devices."""
    allowed = own(attacker)
    for family in (4, 6):
        for source in (GATEWAY[family], branch(2, family), SERVER[family], victim.own(family),
                       OUTER[family], "127.0.0.1" if family == 4 else "::1"):
            for target in (victim.own(family), victim.own(family, 1), branch(1, family),
                           branch(2, family), OUTER[family], victim.outer(family), SERVER[family],
                           *(["255.255.255.255", ALL_HOSTS] if family == 4 else [ALL_NODES])):
                for build in (udp, echo_request):
                    name = f"{build.__name__} from {source} to {target}"
                    packet = build(source, target, m.mark(name, allowed))
                    m.raw(attacker.domain, packet)
                    m.frame(attacker.domain, attacker.interface, build(
                        source, target, m.mark(f"{name}, on the device", allowed)), None)
    good = udp(GATEWAY[4], branch(1), bytes(64), NEW_FLOW)
    for name, start in (("nibble 0", b"\0"), ("nibble 15", b"\xf5"), ("IHL 0", b"\x40"),
                        ("IHL 15", b"\x4f"), ("IPv6 in IPv4's place", b"\x60")):
        m.frame(attacker.domain, attacker.interface,
                start + good[1:28] + m.mark(name, allowed), None)


def tunnel_in_tunnel(m: Matrix, attacker: Tenant, victim: Tenant):
    """Another branch's datagrams, sent to the gateway's port from inside a domain."""
    for family in (4, 6):
        for target in (GATEWAY[family], OUTER[family], CLUSTER[family], SERVER[family],
                       *(["127.0.0.1", "255.255.255.255", "0.0.0.0"] if family == 4
                         else ["::1", "::", ALL_NODES])):
            for nested in (victim, attacker):
                hidden = m.mark(f"{nested}'s datagram inside, to {target}")
                inner = nested.peers[1].session.seal(
                    udp(branch(1, family), SERVER[family], hidden, FLOW))
                ports = (nested.peers[1].port, nested.port)
                name = f"carrier to {target}"
                attacker.peers[1].say(udp(branch(1, family), target, m.mark(
                    name, own(attacker)) + inner, ports))
                attacker.peers[1].say(udp(branch(1, family), target, inner, ports))
                m.raw(attacker.domain, udp(GATEWAY[family], target, inner, ports))
                m.raw(attacker.server, udp(SERVER[family], target, inner, ports))
                m.frame(attacker.domain, attacker.interface,
                        udp(nested.outer(family), OUTER[family], inner, ports), None)
                m.count(4)
        for protocol, carried in ((4, 4), (41, 6)):
            mark = m.mark(f"IPv{carried} in IPv{family}", own(attacker))
            attacker.peers[1].say(ip(
                branch(1, family), GATEWAY[family], protocol,
                udp(branch(2, carried), SERVER[carried], mark, FLOW)))
        mark = m.mark(f"GRE in IPv{family}", own(attacker))
        attacker.peers[1].say(ip(
            branch(1, family), GATEWAY[family], 47,
            b"\0\0\x08\0" + udp(branch(2), SERVER[4], mark, FLOW)))


def hops_that_end(m: Matrix, attacker: Tenant, victim: Tenant):
    """Packets that live for 0, 1 or 2 hops: the error goes to their sender alone."""
    for family in (4, 6):
        for hops in (0, 1, 2, 255):
            for target in (SERVER[family], branch(2, family), victim.own(family), GATEWAY[family]):
                for source in (branch(1, family), attacker.own(family)):
                    name = f"{hops} hops to {target}"
                    attacker.peers[1].say(udp(
                        source, target, m.mark(name, own(attacker)), NEW_FLOW, hops=hops))
                    attacker.peers[1].say(echo_request(
                        source, target, m.mark(name, own(attacker)), hops=hops))
                    attacker.peers[1].say(udp(
                        branch(2, family), target, m.mark(f"forged, {name}"), NEW_FLOW, hops=hops))


def malformed(m: Matrix, attacker: Tenant, victim: Tenant):
    """Lengths that lie: what a packet does not own is not delivered with it."""
    peer = attacker.peers[1]
    good = {family: udp(branch(1, family), SERVER[family], bytes(32), FLOW) for family in (4, 6)}

    def say(name: str, packet: bytes):
        for is_padded in (True, False):
            peer.send(peer.session.seal(packet + m.mark(name), is_padded=is_padded))

    for first in (0x00, 0x40, 0x44, 0x4F, 0x50, 0x55, 0x70, 0xF5):
        say(f"first byte {first:02x}", bytes([first]) + good[4][1:])
    for length in (0, 19, 2000, 65_535):
        say(f"IPv4 length {length}", good[4][:2] + struct.pack(">H", length) + good[4][4:])
    for length in (2000, 65_535):
        say(f"IPv6 length {length}", good[6][:4] + struct.pack(">H", length) + good[6][6:])
    say("behind the IPv4 packet", good[4])
    say("behind the IPv6 packet", good[6])
    say("IPv6 without payload", ip(branch(1, 6), SERVER[6], NO_NEXT_HEADER, b""))
    say("ARP", struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20))
    say("Ethernet", bytes(12) + b"\x08\0" + good[4])
    jumbo = options_header(HOP_BY_HOP, b"\xc2\4" + struct.pack(">I", 70_000))
    packet = extended(branch(1, 6), SERVER[6], [jumbo], UDP, b"")
    say("jumbogram", packet[:4] + bytes(2) + packet[6:])
    allowed = own(attacker)
    for length in (0, 7, 8, 9, 2000, 65_535):
        mark = m.mark(f"UDP length {length}", allowed)
        datagram = udp_datagram(branch(1), SERVER[4], mark, FLOW)
        datagram = datagram[:4] + struct.pack(">H", length) + datagram[6:]
        peer.say(ip(branch(1), SERVER[4], UDP, datagram))
    for offset in (0, 4, 15):
        segment = tcp_segment(branch(1), SERVER[4], m.mark(f"TCP offset {offset}", allowed), FLOW)
        segment = segment[:12] + bytes([offset << 4]) + segment[13:]
        peer.say(ip(branch(1), SERVER[4], TCP, segment))
    broken = bytearray(udp(branch(1), SERVER[4], m.mark("header checksum", allowed), FLOW))
    broken[10] ^= 0xFF
    peer.say(bytes(broken))
    peer.say(ip(branch(1), SERVER[4], ICMP, icmp_message(
        branch(1), SERVER[4], 3, 3, bytes(4), b"\x4f" + m.mark("quoted nonsense", allowed))))


def interleaved_flows(m: Matrix):
    """The same flow in every tenant, in turns, so that a merged run would mix them."""
    for family in (4, 6):
        with m.gateway.held():
            for turn in range(64):
                for tenant in m.tenants:
                    mark = m.mark(f"TCP in turns, {tenant}", own(tenant))
                    tenant.peers[1].say(tcp(
                        branch(1, family), SERVER[family], mark.ljust(100), FLOW, 1 + 100 * turn))
        with m.gateway.held():
            for turn in range(64):
                for tenant in m.tenants:
                    mark = m.mark(f"UDP in turns, {tenant}", own(tenant))
                    tenant.peers[1].say(m.uplink(tenant, 1, family, mark.ljust(100)))
        m.controls()
        with m.gateway.held():
            for turn in range(128):
                for tenant in m.tenants:
                    number = 1 + turn // 2 % 2
                    mark = m.mark(f"answer in turns, {tenant}.{number}", own(
                        tenant, "server", "cluster", "tun", str(number)))
                    m.downlink(tenant, number, mark.ljust(100), family)


KINDS = [
    forged_inner_sources, others_addresses, icmp_errors, fragments, broadcast_and_multicast,
    link_local_and_neighbours, routing_headers, source_routes, from_the_cluster, inside_a_domain,
    tunnel_in_tunnel, hops_that_end, malformed, interleaved_flows]
