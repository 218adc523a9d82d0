import PacketFormats
import TestSupport
import Testing

@testable import EgressScheduling

/// The parts under a shaped `TenantQueues`, each by itself.
@Suite struct ShapingPartsTests {
    private static let second: UInt64 = 1_000_000_000

    /// Bytes that leave at once.
    private func burst(_ shaper: inout LinkShaper, frames: Int, now: UInt64) -> Int {
        var bytes = 0
        while shaper.isReady(now) {
            shaper.charge(frames, now: now)
            bytes += frames
        }
        return bytes
    }

    @Test func aPauseIsWorthAMillisecondOrTwoPackets() {
        for (rate, most) in [(1_000_000, 3_028), (20_000_000, 3_028), (800_000_000, 100_000)] {
            for size in [200, 1_514] {
                var shaper = LinkShaper(LinkShape(bitsPerSecond: Int64(rate)))
                let bytes = burst(&shaper, frames: size, now: Self.second)
                #expect(bytes <= most + size && bytes > most / 2 - size, "\(rate): \(bytes)")
                shaper.pause()
                let again = burst(&shaper, frames: size, now: 3 * Self.second)
                #expect(again == bytes)
            }
        }
    }

    @Test func latenessIsMadeUpForWhileFramesWait() {
        var shaper = LinkShaper(LinkShape(bitsPerSecond: 80_000_000))
        _ = burst(&shaper, frames: 1_000, now: Self.second)
        // 10 bytes a microsecond: what 3 ms were worth, then what 4 of 20 ms were.
        let ready = shaper.readyAt
        let late = burst(&shaper, frames: 1_000, now: ready + 3_000_000)
        #expect(late == 31_000)
        let stalled = burst(&shaper, frames: 1_000, now: shaper.readyAt + 20_000_000)
        #expect(stalled == 41_000)
    }

    @Test(arguments: [1, 3, 999_983, 20_000_000, 9_999_999_999_999] as [Int64])
    func overTimeTheRateIsExact(rate: Int64) {
        var shaper = LinkShaper(LinkShape(bitsPerSecond: rate))
        shaper.charge(1_514, now: Self.second)
        let start = shaper.readyAt
        for _ in 0..<10_000 { shaper.charge(67, now: shaper.readyAt) }
        let expected = 10_000 * 67 * 8 * 1e9 / Double(rate)
        #expect(abs(Double(shaper.readyAt - start) - expected) <= max(2, expected * 1e-9))
    }

    @Test func aNewRateKeepsWhatIsOwed() {
        var shaper = LinkShaper(LinkShape(bitsPerSecond: 1_000))
        shaper.charge(1_000, now: Self.second)
        shaper.charge(1_000, now: Self.second)
        let owed = shaper.readyAt - Self.second
        shaper.setShape(LinkShape(bitsPerSecond: 10_000), now: Self.second)
        #expect(shaper.readyAt - Self.second == owed / 10)
        shaper.setShape(LinkShape(bitsPerSecond: 1), now: Self.second)
        #expect(shaper.readyAt - Self.second == owed / 10 * 10_000)
        for rate: Int64 in [.max, 1, .min, 5_000, .max] {
            shaper.setShape(LinkShape(bitsPerSecond: rate), now: Self.second)
        }
        #expect(shaper.readyAt >= Self.second)
    }

    @Test func shapesAreClamped() {
        for (rate, expected) in [(Int64.min, 1), (0, 1), (5, 5), (.max, 10_000_000_000_000)] {
            #expect(LinkShape(bitsPerSecond: rate).bitsPerSecond == expected)
        }
        #expect(LinkShape(line: 20_000_000).bitsPerSecond == 19_000_000)
        #expect(LinkShape(line: 1).bitsPerSecond == 1)
        #expect(LinkShape(line: .max, share: 7).bitsPerSecond == LinkShape.bitsPerSecondMax)
    }

    @Test func slowLinesHaveALargerTarget() {
        #expect(SojournLaw(LinkShape(bitsPerSecond: 20_000_000)).targetNanoseconds == 5_000_000)
        let slow = SojournLaw(LinkShape(bitsPerSecond: 1_000_000))
        #expect(slow.targetNanoseconds == 18_168_000 && slow.intervalNanoseconds == 100_000_000)
        let slowest = SojournLaw(LinkShape(bitsPerSecond: 8_000))
        #expect(slowest.intervalNanoseconds > slowest.targetNanoseconds)
    }

    @Test(arguments: 0..<10)
    func theIndexEqualsADictionary(seed: UInt64) {
        print("number index seed \(seed)")
        var random = SeededGenerator(seed: seed)
        struct Key: Hashable {
            var tenant: Int
            var number: UInt32
        }
        var index = NumberIndex()
        var capacity = 4
        index.reserve(capacity)
        var records: [Key: Int] = [:]
        for step in 0..<4_000 {
            let key = Key(
                tenant: Int.random(in: 0..<3, using: &random),
                number: UInt32.random(in: 0..<40, using: &random) &* 0x1000_0001)
            let found = index.find(key.tenant, key.number)
            #expect(found == records[key] ?? -1, "seed \(seed), step \(step)")
            if let record = records[key], random.chance(percent: 50) {
                index.remove(record)
                records[key] = nil
            } else if records[key] == nil {
                if records.count == capacity {
                    capacity *= 2
                    index.reserve(capacity)
                }
                let used = Set(records.values)
                guard let record = (0..<capacity).first(where: { !used.contains($0) }) else {
                    continue
                }
                index.insert(record, key.tenant, key.number)
                records[key] = record
            }
        }
    }

    @Test func policiesAreClamped() {
        let policy = ClassPolicy(
            weights: [.prompt: 0, .bulk: 5_000, .token: -3], priorityPercent: 100,
            activationDeadlineNanoseconds: 0)
        #expect(policy.weight(of: .prompt) == 1 && policy.weight(of: .token) == 1)
        #expect(policy.weight(of: .bulk) == 1_000 && policy.weight(of: .activation) == 10)
        #expect(policy.priorityPercent == 99)
        #expect(policy.activationDeadlineNanoseconds == 1_000_000)
        for trafficClass in TrafficClass.allCases {
            let weight = policy.weight(at: Int(trafficClass.rawValue))
            #expect(Int(weight) == policy.weight(of: trafficClass))
        }
    }
}
