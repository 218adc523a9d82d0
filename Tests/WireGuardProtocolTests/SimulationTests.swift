import TestSupport
import Testing

@testable import WireGuardProtocol

/// Two nodes over a faulty network in virtual time; every failure names its seed.
struct SimulationTests {
    /// Packets sent a second apart from both sides until both get one of them.
    ///
    /// - Returns: Seconds that it took; `nil` if it took more than a minute.
    private func secondsUntilDataFlows(
        _ network: SimulatedNetwork, _ number: inout UInt64
    ) -> Int? {
        let first = number
        for elapsed in 0..<60 {
            network.sendFromBranch(number)
            network.sendFromHeadquarters(number + 1)
            number += 2
            network.run(second)
            let toHeadquarters = network.headquarters.delivered.last ?? 0
            let toBranch = network.branch.delivered.last ?? 0
            if toHeadquarters >= first, toBranch >= first { return elapsed }
        }
        return nil
    }

    /// Traffic of some kind for some time.
    private func traffic(_ network: SimulatedNetwork, _ number: inout UInt64) {
        let kind = Int.random(in: 0..<5, using: &network.generator)
        for _ in 0..<Int.random(in: 1...60, using: &network.generator) {
            switch kind {
            case 0:
                network.sendFromBranch(number)
            case 1:
                network.sendFromHeadquarters(number)
            default:
                network.sendFromBranch(number)
                number += 1
                network.sendFromHeadquarters(number)
            }
            number += 1
            let pause = kind == 4 ? 40 * second : 4 * second
            network.run(UInt64.random(in: 0...pause, using: &network.generator))
        }
    }

    private func disturb(_ network: SimulatedNetwork) {
        switch Int.random(in: 0..<10, using: &network.generator) {
        case 0: network.restartBranch()
        case 1: network.restartHeadquarters()
        case 2, 3: network.moveBranch()
        case 4:
            // Suspended: monotonic time went on without anything being done.
            network.branchClockAhead += Int64.random(
                in: 1...4_000_000_000_000, using: &network.generator)
        case 5:
            network.headquartersClockAhead += Int64.random(
                in: 1...400_000_000_000, using: &network.generator)
        case 6:
            network.branchWallClockAhead += Int64.random(in: 0...86_400, using: &network.generator)
        case 7:
            network.run(UInt64.random(in: 100 * second...700 * second, using: &network.generator))
        default: break
        }
    }

    private func randomFaults(_ generator: inout SeededGenerator) -> NetworkFaults {
        NetworkFaults(
            lossPercent: [0, 1, 10, 40, 100].randomElement(using: &generator) ?? 0,
            duplicationPercent: [0, 5, 50].randomElement(using: &generator) ?? 0,
            delayPercent: [0, 2, 30].randomElement(using: &generator) ?? 0,
            latency: [1 * millisecond...2 * millisecond, 20 * millisecond...400 * millisecond]
                .randomElement(using: &generator) ?? 0...1)
    }

    @Test(arguments: Seeds.count(24))
    func dataFlowsAgainAfterAnyFaults(_ seed: UInt64) throws {
        let network = SimulatedNetwork(seed: seed)
        var number: UInt64 = 1
        for round in 0..<12 {
            network.faults = randomFaults(&network.generator)
            traffic(network, &number)
            disturb(network)
            traffic(network, &number)
            network.faults = NetworkFaults()
            let elapsed = secondsUntilDataFlows(network, &number)
            // 15 s to notice that nobody answers, 5 s between two initiations, jitter, and
            // datagrams that were held up for 20 s and lead the answer to an old address.
            #expect((elapsed ?? 99) <= 45, "round \(round)")
        }
        #expect(network.allViolations == [])
    }

    @Test(arguments: Seeds.count(12))
    func withoutFaultsEverythingArrives(_ seed: UInt64) {
        let network = SimulatedNetwork(seed: seed)
        var number: UInt64 = 1
        _ = secondsUntilDataFlows(network, &number)
        let from = number
        for _ in 0..<10 {
            traffic(network, &number)
            network.run(UInt64.random(in: 0...300 * second, using: &network.generator))
        }
        network.run(second)
        let arrived = network.branch.deliveredSet.union(network.headquarters.deliveredSet)
        #expect(
            Set(from..<number).subtracting(arrived) == [],
            "\(network.branch.drops) \(network.headquarters.drops)")
        #expect(network.allViolations == [])
    }

    @Test(arguments: Seeds.count(4))
    func hoursOfSteadyTrafficLoseNothing(_ seed: UInt64) {
        let network = SimulatedNetwork(seed: seed)
        network.faults.latency = 50 * millisecond...50 * millisecond
        var number: UInt64 = 1
        _ = secondsUntilDataFlows(network, &number)
        let from = number
        let start = network.now
        while network.now - start < 4 * 3_600 * second {
            network.sendFromBranch(number)
            network.sendFromHeadquarters(number + 1)
            number += 2
            network.run(2 * second)
        }
        let arrived = network.branch.deliveredSet.union(network.headquarters.deliveredSet)
        #expect(Set(from..<number).subtracting(arrived) == [])
        #expect(network.allViolations == [])
        // About one wake-up a timer period: two timers of 10 and 15 s, a rekey every 120 s.
        let wakeUps = Double(network.branch.wakeUpCount + network.headquarters.wakeUpCount)
        #expect(wakeUps <= 2 * 4 * 3_600 / 10 * 1.8)
    }

    @Test func silenceAfterTheLastPacket() {
        let network = SimulatedNetwork(seed: 1)
        var number: UInt64 = 1
        _ = secondsUntilDataFlows(network, &number)
        network.run(12 * second)
        let count = network.datagramCount
        network.run(24 * 3_600 * second)
        #expect(network.datagramCount == count)
    }

    @Test func silenceAfterAnUnansweredPacket() {
        let network = SimulatedNetwork(seed: 2)
        var number: UInt64 = 1
        _ = secondsUntilDataFlows(network, &number)
        network.faults.lossPercent = 100
        network.sendFromBranch(number)
        network.run(200 * second)
        // 15 s until it is missed, then 90 s of attempts.
        #expect(network.now - network.lastDatagramAt > 90 * second)
        let count = network.datagramCount
        network.run(24 * 3_600 * second)
        #expect(network.datagramCount == count)
    }

    @Test func persistentKeepaliveHoldsTheTunnelOpen() {
        let network = SimulatedNetwork(seed: 3, branchKeepalive: 25)
        network.run(3_600 * second)
        // Headquarters has never been told where the branch is.
        network.sendFromHeadquarters(7)
        network.run(second)
        #expect(network.branch.delivered == [7])
        #expect(network.datagramCount > 3_600 / 25)
        #expect(network.datagramCount < 3_600 / 25 * 2)
    }

    @Test func repliesFollowABranchThatMoves() {
        let network = SimulatedNetwork(seed: 4)
        var number: UInt64 = 1
        _ = secondsUntilDataFlows(network, &number)
        for _ in 0..<20 {
            network.moveBranch()
            network.sendFromBranch(number)
            network.run(second)
            network.sendFromHeadquarters(number + 1)
            network.run(second)
            #expect(network.headquarters.delivered.last == number)
            #expect(network.branch.delivered.last == number + 1)
            number += 2
        }
    }

    @Test func restartedEndIsNoticed() throws {
        for restartsBranch in [true, false] {
            let network = SimulatedNetwork(seed: 5)
            var number: UInt64 = 1
            _ = secondsUntilDataFlows(network, &number)
            if restartsBranch { network.restartBranch() } else { network.restartHeadquarters() }
            let elapsed = secondsUntilDataFlows(network, &number)
            #expect((elapsed ?? 99) <= 21)
        }
    }
}
