import TestSupport
import Testing

@testable import InferenceTraffic

/// Where payload lies in a stream.
@Suite struct WayTests {
    private let second: UInt64 = 1_000_000_000

    @Test func bytesInOrderAreNew() {
        var way = Way()
        #expect(way.accept(100, count: 50, now: 1).newByteCount == 50)
        #expect(way.accept(150, count: 50, now: 2).newByteCount == 50)
        #expect(way.next == 200)
        #expect(way.retransmissions == 0)
    }

    @Test func sequenceNumbersComeRound() {
        var way = Way()
        _ = way.accept(0xffff_fff0, count: 32, now: 1)
        #expect(way.next == 16)
        let arrival = way.accept(16, count: 10, now: 2)
        #expect(arrival.newByteCount == 10)
        #expect(!arrival.isRetransmission)
    }

    @Test func whatWasSeenIsARetransmission() {
        var way = Way()
        _ = way.accept(100, count: 100, now: 1)
        let again = way.accept(100, count: 100, now: 2)
        #expect(again.newByteCount == 0)
        #expect(again.isRetransmission)
        #expect(way.retransmissions == 1)
        #expect(way.next == 200)
    }

    @Test func whatReachesBeyondWhatWasSeenIsPartlyNew() {
        var way = Way()
        _ = way.accept(100, count: 100, now: 1)
        let longer = way.accept(150, count: 100, now: 2)
        #expect(longer.newByteCount == 50)
        #expect(!longer.isRetransmission)
        #expect(way.next == 250)
    }

    @Test(arguments: [(0, false), (20, false), (21, true), (200, true)])
    func aHoleIsFilledByOvertakenPacketsSoonAndByRetransmissionsLater(
        milliseconds: UInt64, isRetransmission: Bool
    ) {
        var way = Way()
        _ = way.accept(0, count: 100, now: second)
        #expect(way.accept(200, count: 100, now: second).newByteCount == 100)
        let late = way.accept(100, count: 100, now: second + milliseconds * 1_000_000)
        #expect(late.newByteCount == 100)
        #expect(late.isRetransmission == isRetransmission)
        // The hole is filled: once more is once too often.
        #expect(way.accept(100, count: 100, now: second * 2).isRetransmission)
        #expect(way.next == 300)
    }

    @Test func aHoleIsFilledInPieces() {
        var way = Way()
        _ = way.accept(0, count: 100, now: second)
        _ = way.accept(400, count: 100, now: second)
        for start in [UInt32(100), 300, 200] {
            let piece = way.accept(start, count: 100, now: second + 1)
            #expect(piece.newByteCount == 100)
            #expect(!piece.isRetransmission)
        }
        #expect(way.accept(300, count: 100, now: second + 2).newByteCount == 0)
    }

    @Test func keepAlivesAndProbesAreNothing() {
        var way = Way()
        _ = way.accept(100, count: 100, now: 1)
        let probe = way.accept(199, count: 1, now: 2)
        #expect(probe.newByteCount == 0)
        #expect(!probe.isRetransmission)
        #expect(way.accept(198, count: 1, now: 2).isRetransmission)
        #expect(way.accept(198, count: 2, now: 2).isRetransmission)
    }

    @Test(arguments: [1 << 24, (1 << 24) + 1, 1 << 31, (1 << 32) - (1 << 24)])
    func numbersFarAwayBeginAnew(distance: Int) {
        var way = Way()
        _ = way.accept(0, count: 100, now: 1)
        let sequence = UInt32(truncatingIfNeeded: 100 + distance)
        let arrival = way.accept(sequence, count: 10, now: 2)
        #expect(arrival.isJump)
        #expect(arrival.newByteCount == 10)
        #expect(way.next == sequence &+ 10)
    }

    @Test(arguments: [(1 << 24) - 1, (1 << 32) - (1 << 24) + 1])
    func numbersWithinAWindowDoNot(distance: Int) {
        var way = Way()
        _ = way.accept(0, count: 100, now: 1)
        #expect(!way.accept(UInt32(truncatingIfNeeded: 100 + distance), count: 10, now: 2).isJump)
    }

    @Test func anyNumbersDoNoHarm() {
        var generator = SeededGenerator(seed: 7)
        var way = Way()
        var now: UInt64 = 0
        for _ in 0..<100_000 {
            let near = way.next &+ UInt32(truncatingIfNeeded: Int.random(
                in: -70_000...70_000, using: &generator))
            let sequence = generator.chance(percent: 90)
                ? near : UInt32(truncatingIfNeeded: generator.next())
            let count = Int.random(in: 0...65_535, using: &generator)
            let arrival = way.accept(sequence, count: count, now: now)
            way.count(arrival.newByteCount, sent: count, now: now)
            way.meter(count, now: now)
            if generator.chance(percent: 5) { way.begin(isPause: false, now: now) }
            #expect(arrival.newByteCount <= count)
            now &+= generator.next() >> UInt64.random(in: 0...63, using: &generator)
        }
    }

    @Test func beginningsAreUsedUpAndComeBack() {
        var way = Way()
        var now = second * 100
        for _ in 0..<16 {
            way.count(16_384, sent: 16_384, now: now)
            way.begin(isPause: false, now: now)
            #expect(way.burst == 0)
        }
        way.count(16_384, sent: 16_384, now: now)
        way.begin(isPause: false, now: now)
        #expect(way.burst == 16_384)
        now += 250_000_000
        way.begin(isPause: false, now: now)
        #expect(way.burst == 0)
    }
}
