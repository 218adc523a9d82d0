import PacketFormats
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Both forms of cryptokey routing against the reference implementations' cases and a linear model.
struct AllowedIPsTests {
    private static let (a, b, c, d, e, f, g, h) = (
        PeerID(1), PeerID(2), PeerID(3), PeerID(4), PeerID(5), PeerID(6), PeerID(7), PeerID(8)
    )

    private func owner(_ allowedIPs: AllowedIPs, _ address: String) throws -> PeerID? {
        let address = try IPAddress(address).orThrow()
        let slow = allowedIPs.lookup(address)
        let fast = RoutingTable(allowedIPs).lookup(address)
        #expect(fast == slow ?? RoutingTable.none)
        return slow
    }

    private func expect(
        _ expected: PeerID?, _ addresses: String..., in allowedIPs: AllowedIPs,
        at location: SourceLocation = #_sourceLocation
    ) throws {
        for address in addresses {
            #expect(
                try owner(allowedIPs, address) == expected, "\(address)", sourceLocation: location)
        }
    }

    @Test func kernelCasesForIPv4Agree() throws {
        let (a, b, c, d, e, g, h) = (Self.a, Self.b, Self.c, Self.d, Self.e, Self.g, Self.h)
        var table = AllowedIPs()
        func insert(_ peer: PeerID, _ prefix: String) throws {
            table.insert(try IPPrefix(prefix).orThrow(), peer)
        }
        for (peer, prefix) in [
            (a, "192.168.4.0/24"), (b, "192.168.4.4/32"), (c, "192.168.0.0/16"),
            (d, "192.95.5.64/27"), (c, "192.95.5.65/27"), (e, "0.0.0.0/0"),
            (g, "64.15.112.0/20"), (h, "64.15.123.211/25"), (a, "10.0.0.0/25"),
            (b, "10.0.0.128/25"), (a, "10.1.0.0/30"), (b, "10.1.0.4/30"), (c, "10.1.0.8/29"),
            (d, "10.1.0.16/29"),
        ] { try insert(peer, prefix) }
        try expect(a, "192.168.4.20", "192.168.4.0", in: table)
        try expect(b, "192.168.4.4", in: table)
        try expect(c, "192.168.200.182", "192.95.5.68", in: table)
        try expect(e, "192.95.5.96", in: table)
        try expect(g, "64.15.116.26", "64.15.127.3", in: table)

        let hosts = ["1.0.0.0", "64.0.0.0", "128.0.0.0", "192.0.0.0", "255.0.0.0"]
        for host in hosts { try insert(a, host + "/32") }
        for host in hosts { try expect(a, host, in: table) }
        table.removeAll(of: a)
        for host in hosts { try expect(e, host, in: table) }
        for peer in [a, b, c, d, e, g, h] { table.removeAll(of: peer) }
        #expect(table.count == 0)

        try insert(a, "192.168.0.0/16")
        try insert(a, "192.168.0.0/24")
        table.removeAll(of: a)
        try expect(nil, "192.168.0.1", in: table)

        try insert(a, "1.0.0.0/32")
        try insert(a, "192.0.0.0/24")
        let isWiderRemoved = try table.remove(IPPrefix("192.0.0.0/32").orThrow(), a)
        #expect(!isWiderRemoved)
        let isAnothersRemoved = try table.remove(IPPrefix("192.0.0.0/24").orThrow(), b)
        #expect(!isAnothersRemoved)
        try expect(a, "1.0.0.0", "192.0.0.1", in: table)
        let isNetworkRemoved = try table.remove(IPPrefix("192.0.0.0/24").orThrow(), a)
        #expect(isNetworkRemoved)
        try expect(nil, "192.0.0.1", in: table)
        let isHostRemoved = try table.remove(IPPrefix("1.0.0.0/32").orThrow(), a)
        #expect(isHostRemoved)
        try expect(nil, "1.0.0.0", in: table)
    }

    @Test func kernelCasesForIPv6Agree() throws {
        let (a, b, c, d, e, f, g, h) = (
            Self.a, Self.b, Self.c, Self.d, Self.e, Self.f, Self.g, Self.h
        )
        var table = AllowedIPs()
        for (peer, prefix) in [
            (d, "2607:5300:6000:6b00::c05f:543/128"), (c, "2607:5300:6000:6b00::/64"),
            (e, "::/0"), (f, "::/0"), (g, "2404:6800::/32"),
            (h, "2404:6800:4004:800:dead:beef:dead:beef/64"),
            (a, "2404:6800:4004:800:dead:beef:dead:beef/128"),
            (c, "2444:6800:40e4:800:deae:beef:def:beef/128"),
            (b, "2444:6800:f0e4:800:eeae:beef::/98"),
        ] { table.insert(try IPPrefix(prefix).orThrow(), peer) }
        try expect(d, "2607:5300:6000:6b00::c05f:543", in: table)
        try expect(c, "2607:5300:6000:6b00::c02e:1ee", in: table)
        try expect(f, "2607:5300:6000:6b01::", in: table)
        try expect(g, "2404:6800:4004:806::1006", "2404:6800:4004:806:0:1234:0:5678", in: table)
        try expect(f, "2404:67ff:4004:806:0:1234:0:5678", "2404:6801:4004:806:0:1234::", in: table)
        try expect(h, "2404:6800:4004:800:0:1234:0:5678", "2404:6800:4004:800::", in: table)
        try expect(h, "2404:6800:4004:800:1010:1010:1010:1010", in: table)
        try expect(a, "2404:6800:4004:800:dead:beef:dead:beef", in: table)
    }

    @Test func insertingMovesAPrefix() throws {
        var table = AllowedIPs()
        let prefix = try IPPrefix("10.0.0.0/8").orThrow()
        let firstLoser = table.insert(prefix, 1)
        #expect(firstLoser == nil)
        let secondLoser = table.insert(prefix, 1)
        #expect(secondLoser == nil)
        let thirdLoser = table.insert(prefix, 2)
        #expect(thirdLoser == 1)
        #expect(table.prefixes(of: 1).isEmpty)
        #expect(table.prefixes(of: 2) == [prefix])
        try expect(2, "10.1.2.3", in: table)
        table.removeAll(of: 1)
        try expect(2, "10.1.2.3", in: table)
    }

    @Test func familiesDoNotMix() throws {
        var table = AllowedIPs()
        table.insert(try IPPrefix("0.0.0.0/0").orThrow(), 1)
        try expect(1, "0.0.0.0", "255.255.255.255", in: table)
        try expect(nil, "::", "::ffff:1.2.3.4", "ffff::ffff", in: table)
        table.insert(try IPPrefix("::/0").orThrow(), 2)
        try expect(2, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", in: table)
        try expect(1, "0.0.0.0", in: table)
    }

    @Test func edgesOfAPrefixBelongToIt() throws {
        var table = AllowedIPs()
        table.insert(try IPPrefix("10.64.0.0/10").orThrow(), 1)
        table.insert(try IPPrefix("2001:db8::/127").orThrow(), 2)
        try expect(1, "10.64.0.0", "10.127.255.255", in: table)
        try expect(nil, "10.63.255.255", "10.128.0.0", in: table)
        try expect(2, "2001:db8::", "2001:db8::1", in: table)
        try expect(nil, "2001:db8::2", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", in: table)
    }

    @Test(arguments: Seeds.count(6))
    func bothFormsAgreeWithALinearModel(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var table = AllowedIPs()
        var model: [IPPrefix: PeerID] = [:]
        for _ in 0..<12 {
            for _ in 0..<60 { try change(&table, &model, &generator) }
            let compiled = RoutingTable(table)
            for _ in 0..<300 {
                let address = probe(model, &generator)
                let expected = model.filter { $0.key.contains(address) }
                    .max { $0.key.length < $1.key.length }?.value
                #expect(table.lookup(address) == expected)
                #expect(compiled.lookup(address) == expected ?? RoutingTable.none)
            }
        }
        for peer in 0..<20 as Range<PeerID> {
            let owned = Set(model.filter { $0.value == peer }.keys)
            #expect(Set(table.prefixes(of: peer)) == owned)
        }
    }

    private func change(
        _ table: inout AllowedIPs, _ model: inout [IPPrefix: PeerID],
        _ generator: inout SeededGenerator
    ) throws {
        let peer = PeerID.random(in: 0..<20, using: &generator)
        switch Int.random(in: 0..<20, using: &generator) {
        case 0:
            table.removeAll(of: peer)
            model = model.filter { $0.value != peer }
        case 1...3:
            guard let (prefix, owner) = model.sorted(by: { $0.key < $1.key })
                .randomElement(using: &generator)
            else { return }
            let victim = generator.chance(percent: 50) ? owner : peer
            let isRemoved = table.remove(prefix, victim)
            #expect(isRemoved == (owner == victim))
            if owner == victim { model[prefix] = nil }
        default:
            let prefix = try randomPrefix(&generator).orThrow()
            table.insert(prefix, peer)
            model[prefix] = peer
        }
    }

    /// Few distinct bits, so that prefixes nest and meet often.
    private func randomAddress(_ generator: inout SeededGenerator) -> IPAddress {
        func word() -> UInt64 {
            let mask = generator.next() & generator.next()
            return generator.chance(percent: 50) ? mask & 0xff00_0000_ff00_0003 : mask
        }
        return generator.chance(percent: 50)
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: word() >> 24))
            : IPAddress(high: word(), low: word())
    }

    private func randomPrefix(_ generator: inout SeededGenerator) -> IPPrefix? {
        let address = randomAddress(&generator)
        let length = Int.random(in: 0...address.bitCount, using: &generator)
        return IPPrefix(address, length: length)
    }

    /// An address inside, just before or just after a prefix, or anywhere.
    private func probe(
        _ model: [IPPrefix: PeerID], _ generator: inout SeededGenerator
    ) -> IPAddress {
        guard generator.chance(percent: 80),
            let base = model.keys.sorted().randomElement(using: &generator)?.address
        else { return randomAddress(&generator) }
        let step = UInt64.random(in: 0...2, using: &generator) &- 1
        return base.isIPv4
            ? IPAddress(ipv4: base.ipv4 &+ UInt32(truncatingIfNeeded: step))
            : IPAddress(high: base.high, low: base.low &+ step)
    }

    @Test func tenThousandPrefixesStaySmall() throws {
        var table = AllowedIPs()
        for number in 0..<10_000 as Range<UInt32> {
            table.insert(
                try IPPrefix(IPAddress(ipv4: 0x0a40_0000 + number), length: 32).orThrow(),
                PeerID(number))
        }
        let compiled = RoutingTable(table)
        for number in 0..<10_000 as Range<UInt32> {
            #expect(compiled.lookup(ipv4: 0x0a40_0000 + number) == PeerID(number))
        }
        #expect(compiled.lookup(ipv4: 0x0a40_0000 + 10_000) == RoutingTable.none)
        #expect(compiled.lookup(ipv4: 0x0a3f_ffff) == RoutingTable.none)
        #expect(compiled.byteCount < 10_000 * 24)
    }
}
