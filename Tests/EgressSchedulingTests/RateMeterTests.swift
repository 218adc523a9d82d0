import EgressScheduling
import TestSupport
import Testing

@Suite struct RateMeterTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func aFullBucketHoldsExactlyTheBurst() {
        // 20 ms at 1 Gbit/s are 2,500,000 bytes.
        let meter = RateMeter(bitsPerSecond: 1_000_000_000)
        let now = 5 * Self.second
        for _ in 0..<2_500 { #expect(meter.take(byteCount: 1_000, now: now)) }
        #expect(!meter.take(byteCount: 1, now: now))
        #expect(!meter.take(byteCount: 1, now: now + 7))
        #expect(meter.take(byteCount: 1, now: now + 8))
    }

    @Test func aSlowRateStillPassesOneLargeFrame() {
        for rate: Int64 in [1, 1_000, 64_000, 1_000_000] {
            let meter = RateMeter(bitsPerSecond: rate)
            #expect(meter.take(byteCount: RateBurst.shaping.bytesMin, now: Self.second))
            #expect(!meter.take(byteCount: 1, now: Self.second))
        }
    }

    @Test func whatIsLargerThanTheBucketPassesWhenItIsFullAndIsPaidAfterwards() {
        let meter = RateMeter(bitsPerSecond: 1_000_000)
        let now = 10 * Self.second
        #expect(meter.take(byteCount: 1_000_000, now: now))
        // Eight seconds until the bucket is full again.
        #expect(meter.nextTime(byteCount: 1_000_000) == now + 8 * Self.second)
        #expect(!meter.take(byteCount: 1_000_000, now: now + 8 * Self.second - 1))
        #expect(meter.take(byteCount: 1_000_000, now: now + 8 * Self.second))
    }

    @Test(arguments: 0..<20)
    func theNextTimeIsTheFirstThatIsAllowed(seed: UInt64) {
        print("rate meter seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let rate = Int64.random(in: 1_000...20_000_000_000, using: &random)
        let meter = RateMeter(bitsPerSecond: rate)
        var now = UInt64.random(in: 1...(1 << 55), using: &random)
        for step in 0..<2_000 {
            let size = Int.random(in: 1...65_536, using: &random)
            let time = meter.nextTime(byteCount: size)
            if time > now {
                #expect(!meter.take(byteCount: size, now: time - 1), "seed \(seed), step \(step)")
                now = time
            }
            #expect(meter.take(byteCount: size, now: now), "seed \(seed), step \(step)")
            if random.chance(percent: 10) { now += UInt64.random(in: 0...100_000, using: &random) }
        }
    }

    @Test(arguments: [1_000, 1_000_000, 1_000_000_000, 400_000_000_000] as [Int64])
    func overTimeExactlyTheRateIsTaken(rate: Int64) {
        for size in [64, 1_500, 65_536] {
            let meter = RateMeter(bitsPerSecond: rate)
            let start: UInt64 = 1 << 50
            var now = start
            var taken = 0
            for _ in 0..<20_000 {
                now = max(now, meter.nextTime(byteCount: size))
                #expect(meter.take(byteCount: size, now: now))
                taken += size
            }
            // Without what the full bucket held at first.
            let burst = max(Double(rate) / 8 * 0.02, 65_536)
            let paced = Double(taken) - burst
            guard paced > 0 else { continue }
            let measured = paced * 8 / (Double(now - start) / 1e9)
            #expect(abs(measured / Double(rate) - 1) < 0.02, "\(size) bytes: \(measured) bit/s")
        }
    }

    @Test func packetsAreCountedOneByOne() {
        let meter = RateMeter(packetsPerSecond: 1_000)
        var passed = 0
        // A tenth of a second, far more than is allowed.
        for step in 0..<10_000 where meter.take(1, now: Self.second + UInt64(step) * 10_000) {
            passed += 1
        }
        // 100 in that time, and the packets of one large frame at the start.
        let packetsAtOnce = TenantMeters.packetCount(byteCount: RateBurst.shaping.bytesMin)
        #expect(passed >= 99 + packetsAtOnce)
        #expect(passed <= 101 + packetsAtOnce)
    }

    @Test func whatIsGivenBackCanBeTakenAgain() {
        let meter = RateMeter(bitsPerSecond: 1_000_000)
        #expect(meter.take(byteCount: 65_536, now: Self.second))
        #expect(!meter.take(byteCount: 1_500, now: Self.second))
        meter.giveBack(1_500)
        #expect(meter.take(byteCount: 1_500, now: Self.second))
        #expect(!meter.take(byteCount: 1, now: Self.second))
    }

    @Test func whatIsChargedIsOwedUpToOneBurst() {
        let meter = RateMeter(bitsPerSecond: 1_000_000_000)
        for _ in 0..<1_000 { meter.charge(65_536, now: Self.second) }
        // The bucket is as far below nothing as it can be above.
        #expect(meter.nextTime(byteCount: 1_250) == Self.second + 20_000_000 + 10_000)
        #expect(!meter.take(byteCount: 1_250, now: Self.second + 20_000_000))
        #expect(meter.take(byteCount: 1_250, now: Self.second + 20_010_000))
    }

    @Test func extremeSizesAndTimesDoNotTrap() {
        for rate: Int64 in [.min, -1, 0, 1, 8, .max] {
            let meters = [RateMeter(bitsPerSecond: rate), RateMeter(packetsPerSecond: rate)]
            for meter in meters {
                for size in [Int.min, -1, 0, 1, .max] {
                    for now: UInt64 in [0, 1, 1 << 59] {
                        _ = meter.take(size, now: now)
                        meter.charge(size, now: now)
                        meter.giveBack(size)
                        _ = meter.nextTime(size)
                    }
                }
            }
        }
    }

    @Test func threadsTogetherTakeNoMoreThanTheRate() async {
        let meter = RateMeter(bitsPerSecond: 1_000_000_000)
        let steps = 40_000
        let taken = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var taken = 0
                    // 40 ms in steps of a microsecond: 5 MB and the burst of 2.5 MB, of 20 MB.
                    for step in 0..<steps
                    where meter.take(byteCount: 500, now: Self.second + UInt64(step) * 1_000) {
                        taken += 500
                    }
                    return taken
                }
            }
            return await group.reduce(0, +)
        }
        #expect(taken <= 7_500_000)
        #expect(taken >= 7_400_000)
    }
}

@Suite struct TenantMetersTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func nothingIsCappedWithoutLimits() {
        let meters = TenantMeters(TenantLimits(minimumRate: 1_000))
        #expect(!meters.isCapped)
        #expect(meters.minimum != nil)
        for _ in 0..<1_000 { #expect(meters.take(byteCount: 1 << 24, now: 1)) }
        #expect(meters.nextTime(byteCount: 1 << 24) == 0)
    }

    @Test func aFrameIsTakenFromBothLimitsOrFromNone() {
        let meters = TenantMeters(
            TenantLimits(maximumRate: 1_000_000, maximumPacketsPerSecond: 100_000))
        #expect(meters.take(byteCount: 65_536, now: Self.second))
        // The rate refuses again and again, and the packets stay.
        for _ in 0..<100_000 { #expect(!meters.take(byteCount: 1_500, now: Self.second)) }
        #expect(meters.packets?.nextTime(1) ?? .max <= Self.second)
        let time = meters.nextTime(byteCount: 1_500)
        #expect(time == Self.second + 12_000_000)
        #expect(meters.take(byteCount: 1_500, now: time))
    }

    @Test func theLaterLimitDecides() {
        let meters = TenantMeters(
            TenantLimits(maximumRate: 1_000_000_000, maximumPacketsPerSecond: 10))
        while meters.take(byteCount: 64, now: Self.second) {}
        let time = meters.nextTime(byteCount: 64)
        #expect(time == Self.second + 100_000_000)
        #expect(!meters.take(byteCount: 64, now: time - 1))
        #expect(meters.take(byteCount: 64, now: time))
    }

    @Test func segmentationFramesCountAsTheirPackets() {
        let cases = [(0, 1), (1, 1), (1_500, 1), (1_501, 2), (65_536, 44)]
        for (size, count) in cases {
            #expect(TenantMeters.packetCount(byteCount: size) == count)
        }
    }
}
