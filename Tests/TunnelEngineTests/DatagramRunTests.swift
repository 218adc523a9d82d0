import PacketFormats
import Testing

@testable import TunnelEngine

@Suite struct DatagramRunTests {
    private func run(of byteCount: Int, trafficClass: UInt8 = 0) -> DatagramRun {
        var run = DatagramRun(peer: 1, datagramBytes: byteCount, trafficClass: trafficClass)
        run.append(byteCount)
        return run
    }

    @Test func equalDatagramsOfOnePeerJoin() {
        #expect(run(of: 96).accepts(96, peer: 1, trafficClass: 0))
        #expect(!DatagramRun().accepts(96, peer: -1, trafficClass: 0))
    }

    @Test func otherPeerOrECNOrLongerDatagramDoesNotJoin() {
        #expect(!run(of: 96).accepts(96, peer: 2, trafficClass: 0))
        #expect(!run(of: 96).accepts(96, peer: 1, trafficClass: 2))
        #expect(!run(of: 96).accepts(112, peer: 1, trafficClass: 0))
    }

    @Test func shorterDatagramIsTheLast() {
        var run = run(of: 96)
        #expect(run.accepts(80, peer: 1, trafficClass: 0))
        run.append(80)
        #expect(!run.accepts(80, peer: 1, trafficClass: 0))
        #expect(!run.accepts(96, peer: 1, trafficClass: 0))
    }

    @Test func runEndsAtTheKernelsLimits() {
        var many = run(of: 32)
        while many.datagramCount < EngineLimits.datagramsPerSend {
            #expect(many.accepts(32, peer: 1, trafficClass: 0))
            many.append(32)
        }
        #expect(!many.accepts(32, peer: 1, trafficClass: 0))

        var large = run(of: 1_452)
        while large.accepts(1_452, peer: 1, trafficClass: 0) { large.append(1_452) }
        #expect(large.end - large.start <= EngineLimits.bytesPerSend)
        #expect(large.end - large.start + 1_452 > EngineLimits.bytesPerSend)
    }
}

@Suite struct TokenBucketTests {
    @Test func burstPassesAndThenTheRate() {
        var bucket = TokenBucket(perSecond: 10, burst: 3)
        let second: UInt64 = 1_000_000_000
        #expect((0..<5).filter { _ in bucket.take(now: second) }.count == 3)
        // A tenth of a second makes one token.
        let afterTenth = bucket.take(now: second + second / 10 + 1)
        let atOnce = bucket.take(now: second + second / 10 + 2)
        #expect(afterTenth)
        #expect(!atOnce)
    }

    @Test func clockThatGoesBackGivesNothing() {
        var bucket = TokenBucket(perSecond: 10, burst: 1)
        let first = bucket.take(now: 5_000_000_000)
        let second = bucket.take(now: 1)
        #expect(first)
        #expect(!second)
    }
}
