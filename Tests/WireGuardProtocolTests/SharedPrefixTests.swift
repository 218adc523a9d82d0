import PacketFormats
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Prefixes that several peers have, and which of them serves a flow.
struct SharedPrefixTests {
    private let prefix = IPPrefix("10.0.0.0/8")!
    private let address = IPAddress("10.1.2.3")!

    private func peers(_ table: AllowedIPs, _ address: IPAddress) -> [PeerID] {
        let routes = RoutingTable(table)
        let owner = routes.lookup(address)
        return routes.group(owner)?.peers ?? (owner >= 0 ? [owner] : [])
    }

    @Test func whoSharesAPrefixHasItTogether() {
        var table = AllowedIPs()
        let isNew = table.share(prefix, 7)
        #expect(isNew)
        #expect(peers(table, address) == [7])
        table.share(prefix, 3)
        let isNewAgain = table.share(prefix, 3)
        #expect(!isNewAgain)
        #expect(table.owners(of: prefix) == [3, 7])
        #expect(peers(table, address) == [3, 7])
        #expect(table.prefixes(of: 3) == [prefix] && table.prefixes(of: 7) == [prefix])
        #expect(table.count == 1)
        let isRemoved = table.remove(prefix, 3)
        #expect(isRemoved)
        #expect(peers(table, address) == [7])
        table.removeAll(of: 7)
        #expect(table.count == 0 && peers(table, address).isEmpty && !table.isShared(prefix))
    }

    @Test func aPrefixThatIsGivenToAPeerMovesAwayFromAllWhoSharedIt() {
        var table = AllowedIPs()
        for peer in [1, 2, 3] as [PeerID] { table.share(prefix, peer) }
        let loser = table.insert(prefix, 2)
        #expect(loser == 1)
        #expect(table.owners(of: prefix) == [2] && !table.isShared(prefix))
        #expect(peers(table, address) == [2])
        #expect(table.prefixes(of: 1).isEmpty && table.prefixes(of: 3).isEmpty)
        table.insert(prefix, 9)
        #expect(table.owners(of: prefix) == [9])
    }

    @Test func whoHasAPrefixAloneDoesNotShareIt() {
        var table = AllowedIPs()
        table.insert(prefix, 1)
        table.share(prefix, 2)
        #expect(table.owners(of: prefix) == [2])
        #expect(table.prefixes(of: 1).isEmpty)
    }

    @Test func longerPrefixesOfOneWinOverSharedOnes() throws {
        var table = AllowedIPs()
        table.share(prefix, 1)
        table.share(prefix, 2)
        table.insert(try IPPrefix("10.1.0.0/16").orThrow(), 5)
        #expect(peers(table, address) == [5])
        #expect(peers(table, try IPAddress("10.2.0.1").orThrow()) == [1, 2])
        #expect(peers(table, try IPAddress("11.0.0.1").orThrow()).isEmpty)
    }

    @Test func everyMemberIncludedAndNobodyElse() {
        var table = AllowedIPs()
        table.share(prefix, 1)
        table.share(prefix, 2)
        let routes = RoutingTable(table)
        let owner = routes.lookup(address)
        #expect(routes.hasGroups && owner >= RoutingTable.firstGroup)
        #expect(routes.owner(owner, includes: 1) && routes.owner(owner, includes: 2))
        #expect(!routes.owner(owner, includes: 3) && !routes.owner(owner, includes: -1))
        #expect(routes.owner(4, includes: 4) && !routes.owner(4, includes: 1))
        #expect(!routes.owner(RoutingTable.none, includes: 1))
    }

    @Test(arguments: Seeds.count(6))
    func aModelOfSetsAgrees(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var table = AllowedIPs()
        var model: [IPPrefix: (peers: Set<PeerID>, isShared: Bool)] = [:]
        for _ in 0..<400 {
            let bits = UInt32.random(in: 0..<8, using: &generator)
            let length = Int.random(in: 1...3, using: &generator)
            let prefix = IPPrefix(IPAddress(ipv4: bits << 29), length: length)!
            let peer = PeerID.random(in: 0..<5, using: &generator)
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<2:
                table.insert(prefix, peer)
                model[prefix] = ([peer], false)
            case 2..<7:
                table.share(prefix, peer)
                if model[prefix]?.isShared == true {
                    model[prefix]?.peers.insert(peer)
                } else {
                    model[prefix] = ([peer], true)
                }
            case 7..<9:
                let isRemoved = table.remove(prefix, peer)
                let wasThere = model[prefix]?.peers.remove(peer) != nil
                #expect(isRemoved == wasThere)
            default:
                table.removeAll(of: peer)
                for key in model.keys { model[key]?.peers.remove(peer) }
            }
            model = model.filter { !$0.value.peers.isEmpty }
            #expect(table.count == model.count)
            let address = IPAddress(ipv4: UInt32(truncatingIfNeeded: generator.next()))
            let expected = model.filter { $0.key.contains(address) }
                .max { $0.key.length < $1.key.length }?.value.peers
            #expect(Set(peers(table, address)) == expected ?? [], "seed \(seed)")
        }
        for peer in 0..<5 as Range<PeerID> {
            let owned = Set(model.filter { $0.value.peers.contains(peer) }.keys)
            #expect(Set(table.prefixes(of: peer)) == owned, "seed \(seed)")
        }
    }
}

struct PeerGroupTests {
    private func counts(_ group: PeerGroup, flows: Int = 30_000) -> [PeerID: Int] {
        var generator = SeededGenerator(seed: 1)
        var counts: [PeerID: Int] = [:]
        for _ in 0..<flows {
            let flow = UInt32(truncatingIfNeeded: generator.next())
            counts[group.peer(forFlow: flow), default: 0] += 1
        }
        return counts
    }

    @Test func newFlowsFollowWeights() {
        let group = PeerGroup(
            [1, 2, 3], [1: .init(weight: 1), 2: .init(weight: 2), 3: .init(weight: 7)])
        let counts = counts(group)
        for (peer, expected) in [1: 3_000, 2: 6_000, 3: 21_000] as [PeerID: Int] {
            #expect(abs(counts[peer, default: 0] - expected) < 400, "\(peer): \(counts)")
        }
    }

    @Test func onlyTheLowestPriorityGetsNewFlows() {
        let group = PeerGroup([1, 2, 3], [1: .init(priority: 9), 2: .init(priority: 10)])
        #expect(Set(counts(group, flows: 100).keys) == [1])
        #expect(group.keeps(1) && group.keeps(2) && group.keeps(3))
    }

    @Test func whoWorksWorseServesNobody() {
        let group = PeerGroup(
            [1, 2, 3], [1: .init(level: 2, priority: 1), 2: .init(level: 1), 3: .init(level: 1)])
        #expect(Set(counts(group, flows: 100).keys) == [2, 3])
        #expect(!group.keeps(1) && group.keeps(2) && group.keeps(3) && !group.keeps(4))
    }

    @Test func ifNobodyWorksAllServe() {
        let group = PeerGroup([1, 2], [1: .init(level: 3), 2: .init(level: 3)])
        #expect(group.keeps(1) && group.keeps(2))
        #expect(counts(group, flows: 100).count == 2)
    }

    @Test func withoutWeightAPeerKeepsFlowsAndGetsNoNewOnes() {
        let drained = PeerGroup([1, 2], [1: .init(priority: 1, weight: 0)])
        #expect(Set(counts(drained, flows: 100).keys) == [2])
        #expect(drained.keeps(1))
        let alone = PeerGroup([1, 2], [1: .init(weight: 0), 2: .init(level: 1)])
        #expect(Set(counts(alone, flows: 100).keys) == [1])
    }

    @Test func flowsOfOthersStayWhenOneGoes() {
        let whole = PeerGroup([1, 2, 3], [:])
        let without = PeerGroup([1, 2, 3], [2: .init(level: 1)])
        for flow in 0..<5_000 as Range<UInt32> where whole.peer(forFlow: flow) != 2 {
            #expect(whole.peer(forFlow: flow) == without.peer(forFlow: flow))
        }
    }
}

struct FlowPinsTests {
    private let both = PeerGroup([1, 2], [:])
    private let first = PeerGroup([1, 2], [2: .init(priority: 200)])
    private let second = PeerGroup([1, 2], [1: .init(priority: 200)])
    private let firstIsDead = PeerGroup([1, 2], [1: .init(level: 1)])

    @Test func aFlowStaysWhileItsPeerIsWell() {
        var pins = FlowPins()
        let begin = pins.peer(forFlow: 5, to: first, now: 1)
        #expect(begin == 1)
        let preferredElsewhere = pins.peer(forFlow: 5, to: second, now: 2)
        #expect(preferredElsewhere == 1)
        let newFlow = pins.peer(forFlow: 6, to: second, now: 2)
        #expect(newFlow == 2)
    }

    @Test func aFlowMovesWhenItsPeerDiesAndDoesNotComeBack() {
        var pins = FlowPins()
        _ = pins.peer(forFlow: 5, to: first, now: 1)
        let moved = pins.peer(forFlow: 5, to: firstIsDead, now: 2)
        #expect(moved == 2)
        let recovered = pins.peer(forFlow: 5, to: first, now: 3)
        #expect(recovered == 2)
    }

    @Test func aFlowWhosePeerIsGoneMoves() {
        var pins = FlowPins()
        _ = pins.peer(forFlow: 5, to: first, now: 1)
        let moved = pins.peer(forFlow: 5, to: PeerGroup([2, 3], [3: .init(level: 1)]), now: 2)
        #expect(moved == 2)
    }

    @Test func aLongIdleFlowIsNew() {
        var pins = FlowPins()
        _ = pins.peer(forFlow: 5, to: first, now: 1)
        let justLive = pins.peer(forFlow: 5, to: second, now: FlowPins.idleNanoseconds)
        #expect(justLive == 1)
        let idle = pins.peer(forFlow: 5, to: second, now: 2 * FlowPins.idleNanoseconds)
        #expect(idle == 2)
    }

    @Test func theFlowUnusedForLongestLosesItsPlace() {
        var pins = FlowPins()
        // All of one set; the first is used again before the table overflows.
        let flows = (0...FlowPins.ways).map { UInt32($0 * FlowPins.setCount + 3) }
        for (time, flow) in flows.dropLast().enumerated() {
            _ = pins.peer(forFlow: flow, to: first, now: UInt64(time) + 1)
        }
        _ = pins.peer(forFlow: flows[0], to: first, now: 100)
        _ = pins.peer(forFlow: flows[FlowPins.ways], to: first, now: 101)
        let kept = pins.peer(forFlow: flows[0], to: second, now: 102)
        #expect(kept == 1)
        let lost = pins.peer(forFlow: flows[1], to: second, now: 103)
        #expect(lost == 2)
    }

    @Test func withoutChangesAForgottenFlowFindsItsPeerAgain() {
        var pins = FlowPins()
        for flow in 0..<20_000 as Range<UInt32> {
            let expected = both.peer(forFlow: flow)
            let found = pins.peer(forFlow: flow, to: both, now: UInt64(flow))
            #expect(found == expected)
        }
    }
}
