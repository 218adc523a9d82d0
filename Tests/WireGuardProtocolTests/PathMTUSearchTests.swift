import TestSupport
import Testing

@testable import WireGuardProtocol

@Suite struct PathMTUSearchTests {
    /// IPv4 and IPv6, a TUN MTU of 1,420.
    private static let overheads = [28, 48]

    /// Tries sizes until none is due; a size that passes arrives, another is lost.
    ///
    /// - Returns: How many probes that took.
    private func settle(_ search: inout PathMTUSearch, _ sizeMax: Int, now: UInt64) -> Int {
        var count = 0
        while let size = search.probe(now: now, isActive: false), count < 100 {
            count += 1
            #expect(size >= search.floor && size <= search.ceiling)
            if size <= sizeMax {
                search.arrived(size, now: now)
            } else {
                search.lost(size, now: now)
            }
        }
        return count
    }

    @Test(arguments: overheads)
    func everyPathIsFoundToWithinEightBytes(overhead: Int) {
        for pathMTU in 1_200...1_520 {
            let sizeMax = pathMTU - overhead
            var search = PathMTUSearch(floor: 1_280 - overhead, ceiling: 1_452)
            let count = settle(&search, sizeMax, now: second)
            #expect(search.isComplete)
            #expect(count <= 3 + 1 + 3 * 6, "\(pathMTU): \(count) probes")
            if pathMTU < 1_280 {
                #expect(search.current == search.floor && !search.isConfirmed)
            } else {
                #expect(search.isConfirmed)
                #expect(search.current <= sizeMax, "\(pathMTU)")
                #expect(search.current > min(sizeMax, 1_452) - 8, "\(pathMTU)")
            }
            // What fits is known by one probe.
            if sizeMax >= 1_452 { #expect(count == 1 && search.current == 1_452) }
        }
    }

    /// From any path to any other: what fails is tried again after a minute.
    @Test(arguments: overheads)
    func everyChangeIsFollowed(overhead: Int) {
        for (before, after) in (1_270...1_500).flatMap({ before in
            stride(from: 1_270, through: 1_500, by: 23).map { (before, $0) }
        }) {
            var search = PathMTUSearch(floor: 1_280 - overhead, ceiling: 1_452)
            _ = settle(&search, before - overhead, now: second)
            // Three confirmations are lost, or one arrives.
            for _ in 0..<3 {
                let size = search.current
                if size <= after - overhead {
                    search.arrived(size, now: 2 * second)
                } else {
                    search.lost(size, now: 2 * second)
                }
            }
            let count =
                settle(&search, after - overhead, now: 2 * second)
                + settle(&search, after - overhead, now: 70 * second)
            #expect(search.isComplete && count < 40)
            let limit = max(after - overhead, search.floor)
            #expect(search.current <= limit, "\(before) to \(after)")
            #expect(search.current > min(limit, 1_452) - 8, "\(before) to \(after)")
        }
    }

    /// 1,452 is no whole number of steps above IPv6's floor.
    @Test func widestSizeIsReachedFromJustBelow() {
        var search = PathMTUSearch(floor: 1_232, ceiling: 1_452)
        _ = settle(&search, 1_447, now: second)
        #expect(search.current == 1_440)
        _ = settle(&search, 1_452, now: 62 * second)
        #expect(search.current == 1_452)
    }

    @Test func threeLossesInARowAreABlackHoleAndFewerAreNot() {
        var search = PathMTUSearch(floor: 1_252, ceiling: 1_452)
        _ = settle(&search, .max, now: second)
        for _ in 0..<10 {
            search.lost(1_452, now: second)
            search.lost(1_452, now: second)
            search.arrived(1_452, now: second)
            #expect(search.current == 1_452 && search.isConfirmed)
        }
        for _ in 0..<3 { search.lost(1_452, now: second) }
        #expect(search.current == 1_252 && !search.isConfirmed)
    }

    /// A sender that waits for what was lost sends too little to count as traffic.
    @Test func doubtIsSettledWithoutTraffic() {
        var search = PathMTUSearch(floor: 1_252, ceiling: 1_452)
        _ = settle(&search, .max, now: second)
        #expect(search.probe(now: 9 * second, isActive: false) == nil)
        #expect(search.probe(now: 9 * second, isActive: true) == 1_452)
        search.lost(1_452, now: 9 * second)
        #expect(search.probe(now: 9 * second, isActive: false) == 1_452)
        #expect(search.nextDeadline(isActive: false) == 0)
        search.arrived(1_452, now: 9 * second)
        #expect(search.probe(now: 10 * second, isActive: false) == nil)
        #expect(search.nextDeadline(isActive: false) == .max)
        #expect(search.nextDeadline(isActive: true) == 9 * second + 500 * millisecond)
    }

    @Test func raiseComesOnceAMinute() {
        var search = PathMTUSearch(floor: 1_252, ceiling: 1_452)
        _ = settle(&search, 1_300, now: second)
        let found = search.current
        for minute: UInt64 in 1...5 {
            let due = second + minute * 60 * second
            #expect(search.probe(now: due - 1, isActive: false) == nil)
            #expect(search.nextDeadline(isActive: false) == due)
            #expect(settle(&search, 1_300, now: due) == 3)
            #expect(search.current == found)
        }
        _ = settle(&search, 1_400, now: 1_000 * second)
        #expect((1_393...1_400).contains(search.current))
    }

    /// An answer that is under way when the minute is over does not begin another one.
    @Test func confirmationDoesNotPostponeTheRaise() {
        var search = PathMTUSearch(floor: 1_252, ceiling: 1_452)
        _ = settle(&search, 1_300, now: second)
        search.arrived(search.current, now: 61 * second)
        #expect(search.probe(now: 61 * second, isActive: true).map { $0 > 1_300 } == true)
    }

    @Test func lossyPathsNeedMoreLosses() {
        var search = PathMTUSearch(floor: 1_252, ceiling: 1_452)
        _ = settle(&search, .max, now: second)
        for _ in 0..<7 { search.lost(1_452, now: second, lossesMax: 8) }
        #expect(search.current == 1_452)
        search.lost(1_452, now: second, lossesMax: 8)
        #expect(search.current == 1_252)
    }

    @Test func floorThatDoesNotPassIsUsedAndNotConfirmed() {
        for ceiling in [1_252, 1_253, 1_452] {
            var search = PathMTUSearch(floor: 1_252, ceiling: ceiling)
            #expect(settle(&search, 1_000, now: second) <= 6)
            #expect(search.current == 1_252 && !search.isConfirmed)
            // The path is whole again, and there is traffic.
            let later = 2 * second
            #expect(search.probe(now: later, isActive: true) == 1_252)
            search.arrived(1_252, now: later)
            #expect(search.isConfirmed)
            _ = settle(&search, .max, now: later)
            #expect(search.current == ceiling && search.isConfirmed)
        }
    }

    @Test func ceilingBelowTheFloorCountsAsTheFloor() {
        for ceiling in [Int.min, 0, 608, 1_251, 1_252] {
            var search = PathMTUSearch(floor: 1_252, ceiling: ceiling)
            #expect(search.ceiling == 1_252 && search.current == 1_252)
            #expect(settle(&search, .max, now: second) == 1)
            #expect(search.isComplete && search.isConfirmed)
        }
    }

    @Test func widePathsTakeFewProbes() {
        for sizeMax in stride(from: 1_252, through: 65_507, by: 997) {
            var search = PathMTUSearch(floor: 1_252, ceiling: 65_507)
            let count = settle(&search, sizeMax, now: second)
            #expect(count < 3 + 1 + 3 * 15)
            #expect(search.current <= sizeMax && search.current > sizeMax - 8)
        }
    }

    @Test(arguments: Seeds.count(20))
    func anythingThatArrivesKeepsTheBounds(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let floor = Int.random(in: 1...1_400, using: &random)
        let ceiling = Int.random(in: 0...3_000, using: &random)
        var search = PathMTUSearch(floor: floor, ceiling: ceiling)
        var now: UInt64 = random.chance(percent: 20) ? .max - 100 * second : 0
        for _ in 0..<3_000 {
            let (sum, overflow) = now.addingReportingOverflow(random.next() % (2 * second))
            now = overflow ? .max : sum
            let size =
                random.chance(percent: 80)
                ? search.probe(now: now, isActive: random.chance(percent: 50)) ?? search.current
                : Int.random(in: -10...4_000, using: &random)
            if random.chance(percent: 50) {
                search.arrived(size, now: now)
            } else {
                search.lost(size, now: now)
            }
            #expect(search.current >= search.floor && search.current <= search.ceiling)
            for isActive in [false, true] {
                let due = search.probe(now: now, isActive: isActive)
                if let due { #expect(due >= search.floor && due <= search.ceiling) }
                // What is due is said to be due, and the other way round.
                let deadline = search.nextDeadline(isActive: isActive)
                if now < .max { #expect((due != nil) == (deadline <= now)) }
            }
        }
    }
}
