import PacketFormats
import TestSupport
import Testing

@testable import NodeAgent

@Suite struct PrefixOwnersTests {
    private func prefixes(_ texts: String...) -> Set<IPPrefix> {
        Set(texts.compactMap { IPPrefix($0) })
    }

    @Test func overlapIsFoundInBothDirections() {
        var owners = PrefixOwners()
        owners.insert(prefixes("10.64.0.0/16", "10.64.3.4/32", "fd00::/64"))
        for taken in [
            "10.64.0.0/16", "10.0.0.0/8", "10.64.255.255/32", "0.0.0.0/0", "fd00::1/128",
        ] {
            #expect(owners.overlap(with: prefixes(taken)) != nil, "\(taken)")
        }
        for free in ["10.63.255.255/32", "10.65.0.0/16", "fd00:0:0:1::/64", "::/128"] {
            #expect(owners.overlap(with: prefixes(free)) == nil, "\(free)")
        }
        owners.remove(prefixes("10.64.0.0/16", "10.64.3.4/32", "fd00::/64"))
        #expect(owners == PrefixOwners())
    }

    @Test func whatIsSharedMayBeHadByAllWhoShareIt() {
        var owners = PrefixOwners()
        let network = prefixes("10.0.0.0/8")
        let first = network.union(prefixes("10.64.0.1/32"))
        owners.insert(first, sharing: network)
        let second = network.union(prefixes("10.64.0.2/32"))
        #expect(owners.overlap(with: second, sharing: network) == nil)
        owners.insert(second, sharing: network)
        #expect(owners.overlap(with: network) != nil, "alone")
        for other in ["10.9.0.0/16", "0.0.0.0/0"].map({ prefixes($0) }) {
            #expect(owners.overlap(with: other, sharing: other) != nil)
        }
        // An address of one is nobody else's, whatever else they share.
        for taken in ["10.64.0.1/32", "10.64.0.2/32"] {
            let wanted = network.union(prefixes(taken))
            #expect(owners.overlap(with: wanted, sharing: network) != nil, "\(taken)")
            #expect(owners.overlap(with: wanted, sharing: wanted) != nil, "\(taken)")
        }
        let nested = network.union(prefixes("10.7.0.0/16", "10.64.0.3/32"))
        let nestedShared = network.union(prefixes("10.7.0.0/16"))
        #expect(owners.overlap(with: nested, sharing: nestedShared) == nil)
        owners.insert(nested, sharing: nestedShared)
        #expect(owners.overlap(with: nestedShared, sharing: nestedShared) == nil)
        #expect(owners.overlap(with: nestedShared, sharing: network) != nil)
        owners.remove(first, sharing: network)
        owners.remove(nested, sharing: nestedShared)
        #expect(owners.overlap(with: first, sharing: network) == nil)
        #expect(owners.overlap(with: prefixes("10.1.1.1/32")) != nil)
        owners.remove(second, sharing: network)
        #expect(owners == PrefixOwners())
    }

    @Test func whatOneHasAloneIsNotShared() {
        var owners = PrefixOwners()
        let network = prefixes("10.0.0.0/8")
        owners.insert(network)
        #expect(owners.overlap(with: network, sharing: network) != nil)
    }

    @Test(arguments: UInt64(1)...20)
    func modelAgrees(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var owners = PrefixOwners()
        var model: [Set<IPPrefix>] = []
        for _ in 0..<200 {
            let wanted = Set(
                (0..<Int.random(in: 1...3, using: &generator)).compactMap { _ in
                    IPPrefix(
                        IPAddress(ipv4: UInt32.random(in: 0..<1 << 12, using: &generator) << 20),
                        length: Int.random(in: 4...14, using: &generator))
                })
            let overlaps = model.contains { known in
                known.contains { one in wanted.contains { $0.holds(one) || one.holds($0) } }
            }
            #expect((owners.overlap(with: wanted) != nil) == overlaps, "seed \(seed)")
            if !overlaps {
                owners.insert(wanted)
                model.append(wanted)
            }
            if model.count > 3, Bool.random(using: &generator) {
                owners.remove(model.remove(at: Int.random(in: 0..<model.count, using: &generator)))
            }
        }
    }
}
