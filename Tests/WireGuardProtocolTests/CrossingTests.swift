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
    func endsAgreeWhateverTheOrder(_ seed: UInt64, _ start: Start) throws {
        let crossing = Crossing(seed: seed)
        if start == .renewal {
            crossing.establish()
            crossing.now += 130 * second
        }
        crossing.beginBoth()
        crossing.shuffle(dataPercent: start == .renewal ? 30 : 0)
        try crossing.expectAgreement()
        crossing.expectNothingLost()

        // From now on both send every two seconds, on a network that keeps the order.
        for rekey in 1...2 {
            let before = crossing.initiationCount
            let due = crossing.lastInitiationAt + 123 * second
            while crossing.now < due {
                crossing.exchange()
                crossing.now += 2 * second
            }
            #expect(crossing.initiationCount == before + 1, "rekey \(rekey)")
            try crossing.expectAgreement()
        }
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
    @Test(arguments: Seeds.count(12))
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
