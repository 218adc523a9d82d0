import PacketFormats
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Handshakes that both ends begin at once, with everything between them in any order.
struct CrossingTests {
    /// How the two ends come to their initiations.
    enum Start: CaseIterable {
        /// With nothing before.
        case fresh
        /// While data flows under a session that is due for renewal.
        case renewal
    }

    @Test(arguments: Seeds.count(100), Start.allCases)
    func endsAgreeIfEachIsHeardInOrder(_ seed: UInt64, _ start: Start) throws {
        let crossing = crossed(seed, start, keepsOrder: true)
        try crossing.expectAgreement()

        // From now on both send every two seconds, on a network that keeps the order.
        for rekey in 1...2 {
            let before = crossing.initiationCount
            crossing.exchange(until: crossing.lastInitiationAt + 123 * second)
            #expect(crossing.initiationCount == before + 1, "rekey \(rekey)")
            try crossing.expectAgreement()
        }
        crossing.expectNothingLost()
    }

    @Test(arguments: Seeds.count(100), Start.allCases)
    func endsAgreeFromTheNextRenewalOnWhateverTheOrder(
        _ seed: UInt64, _ start: Start
    ) throws {
        let crossing = crossed(seed, start, keepsOrder: false)
        for _ in 1...2 {
            let before = crossing.initiationCount
            crossing.exchange(until: crossing.lastInitiationAt + 168 * second)
            #expect(crossing.initiationCount > before)
            try crossing.expectAgreement()
        }
        crossing.expectNothingLost()
    }

    /// Two ends that began at once, and then everything between them.
    private func crossed(_ seed: UInt64, _ start: Start, keepsOrder: Bool) -> Crossing {
        let crossing = Crossing(seed: seed)
        if start == .renewal {
            crossing.establish()
            crossing.now += 130 * second
        }
        crossing.beginBoth()
        crossing.shuffle(
            dataPercent: start == .renewal ? 30 : 0, keepsOrder: keepsOrder)
        crossing.expectNothingLost()
        return crossing
    }

    /// Of the two handshakes only ours can complete, whichever key is the greater.
    @Test(arguments: [0, 1])
    func stockPeerIsReachedInOneRoundTrip(_ stock: Int) throws {
        let crossing = Crossing(seed: 1, stock: stock)
        crossing.sendFromBoth()
        #expect(crossing.initiationCount == 2)
        crossing.deliverInOrder()
        try crossing.expectAgreement()
        crossing.expectNothingLost()
        #expect(crossing.ends[1 - stock].sending?.isInitiator == true)
    }

    @Test(arguments: Seeds.count(100), [0, 1])
    func stockPeerIsReachedWhateverTheOrder(_ seed: UInt64, _ stock: Int) throws {
        let crossing = Crossing(seed: seed, stock: stock)
        crossing.sendFromBoth()
        crossing.shuffle(dataPercent: 30)
        crossing.expectNothingLost()
        crossing.exchange(until: crossing.now + 168 * second)
        try crossing.expectAgreement()
        crossing.expectNothingLost()
    }

    @Test(arguments: [.transportData, .response] as [WireGuardMessage.Kind])
    func whatGetsLostDelaysNobodyForLong(_ lost: WireGuardMessage.Kind) throws {
        let crossing = Crossing(seed: 1)
        crossing.beginBoth()
        crossing.deliverInOrder(losing: lost)
        for _ in 0..<24 {
            crossing.exchange()
            crossing.now += second / 2
        }
        try crossing.expectAgreement()
        for end in crossing.ends { #expect(end.delivered.count >= 12) }
    }

    /// The network with its faults, while handshakes keep crossing under load.
    ///
    /// With the two fixed seeds, ends that send with different sessions begin once more.
    @Test(arguments: Seeds.count(12) + [0x5eed_000c, 0x5eed_0018])
    func crossingUnderLoadLosesNothing(_ seed: UInt64) {
        let network = SimulatedNetwork(seed: seed)
        network.faults.latency = 20 * millisecond...60 * millisecond
        var number: UInt64 = 1
        while network.branch.delivered.isEmpty || network.headquarters.delivered.isEmpty {
            network.sendFromBranch(number)
            network.sendFromHeadquarters(number + 1)
            number += 2
            network.run(second)
        }
        let from = number
        for _ in 0..<10 {
            network.run(UInt64.random(in: 0...30 * second, using: &network.generator))
            network.beginBothHandshakes()
            for _ in 0..<300 {
                network.sendFromBranch(number)
                network.sendFromHeadquarters(number + 1)
                number += 2
                network.run(millisecond)
            }
        }
        network.run(second)
        let arrived = network.branch.deliveredSet.union(network.headquarters.deliveredSet)
        #expect(
            Set(from..<number).subtracting(arrived) == [],
            "\(network.branch.drops) \(network.headquarters.drops)")
        #expect(network.allViolations == [])
    }
}
