import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

/// Retransmission, reordering and loss.
@Suite struct StreamOrderTests {
    static let head = Array("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 5\r\n\r\n".utf8)

    @Test func whatWasSeenIsNotReadAgain() {
        var line = ScannedConnection()
        line.send(.client, Self.head)
        let again = line.send(.client, Self.head, at: -Self.head.count)
        #expect(again.kinds == .retransmission)
        // Half old, half new.
        let overlap = line.send(
            .client, Array(Self.head.suffix(10)) + Array("hel".utf8), at: -10)
        #expect(overlap.requestBodyBytes == 3 && overlap.reason == .none)
        line.next[.client]! &+= 3
        let rest = line.client("lo")
        #expect(rest.kinds == .requestEnded)
        // A probe of a byte below what is expected.
        let probe = line.send(.client, [0], at: -1)
        #expect(probe.kinds == .retransmission)
    }

    @Test func aSegmentThatOvertookWaitsForTheOther() {
        var line = ScannedConnection()
        let early = line.send(.client, Array(Self.head[20...]), at: 20)
        #expect(early.kinds == .gap && early.reason == .none)
        let events = line.send(.client, Array(Self.head[..<20]))
        #expect(events.kinds == [.protocolKnown, .requestStarted, .requestHeaders])
        #expect(events.request.path == .generation)
        line.next[.client]! &+= UInt32(Self.head.count - 20)
        let body = line.client("hello")
        #expect(body.kinds == .requestEnded)
    }

    @Test func severalSegmentsWaitForTheFirst() {
        var line = ScannedConnection()
        for start in stride(from: 10, to: Self.head.count, by: 10) {
            let end = min(start + 10, Self.head.count)
            let early = line.send(.client, Array(Self.head[start..<end]), at: start)
            #expect(early.kinds == .gap)
        }
        let twice = line.send(.client, Array(Self.head[20..<30]), at: 20)
        #expect(twice.kinds == .gap)
        let events = line.send(.client, Array(Self.head[..<10]))
        #expect(events.kinds.contains(.requestHeaders) && events.reason == .none)
    }

    @Test func aGapBeyondWhatMayWaitEndsTheScanner() {
        for excess in [0, 1] {
            var line = ScannedConnection()
            line.client("GET / HTTP/1.1\r\nX: ")
            let waiting = [UInt8](repeating: 97, count: HoldBuffers.byteCount + excess)
            let events = line.send(.client, waiting, at: 1)
            #expect(events.reason == (excess == 0 ? .none : .gap))
        }
    }

    @Test func segmentsThatDoNotFollowEachOtherEndTheScanner() {
        var line = ScannedConnection()
        line.client("GET / HTTP/1.1\r\nX: ")
        line.send(.client, [97], at: 10)
        let events = line.send(.client, [97], at: 12)
        #expect(events.reason == .gap)
    }

    @Test func gapsInBodiesAreBridged() {
        var line = ScannedConnection()
        line.client("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        line.next[.client]! &+= 60
        let events = line.send(.client, [UInt8](repeating: 1, count: 40))
        #expect(events.kinds == [.gap, .requestEnded])
        #expect(events.requestBodyBytes == 100)
        // What was missing comes late.
        let late = line.send(.client, [UInt8](repeating: 1, count: 60), at: -100)
        #expect(late.kinds == .retransmission)
        line.server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nab")
        line.next[.server]! &+= 90
        let answer = line.server("cdefghij\r\n0\r\n\r\n")
        #expect(answer.kinds == [.gap, .responseChunk, .responseEnded])
        #expect(answer.responseBodyBytes == 98)
    }

    @Test func aGapOverABodysEndWaits() {
        var line = ScannedConnection()
        line.client("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
        let rest = Array("0123456789GET / HTTP/1.1\r\n\r\n".utf8)
        let early = line.send(.client, Array(rest[15...]), at: 15)
        #expect(early.kinds == .gap)
        let events = line.send(.client, Array(rest[..<15]))
        #expect(events.requestsStarted == 1 && events.requestsEnded == 2)
    }

    @Test func gapsInDataFramesAreBridged() {
        var line = HTTP2Tests.open()
        line.send(.client, HTTP2Writer.headers(1, HTTP2Writer.chat))
        let frame = HTTP2Writer.data(1, [UInt8](repeating: 1, count: 5000), ends: true)
        line.send(.client, Array(frame[..<1000]))
        line.next[.client]! &+= 3000
        let events = line.send(.client, Array(frame[4000...]))
        #expect(events.kinds == [.gap, .requestEnded])
        #expect(line.total.requestBytes == 5000)
        // A gap over a whole frame is none that can be bridged.
        let other = line.send(.client, [UInt8](repeating: 0, count: 5000), at: 100)
        #expect(other.reason == .gap)
    }

    @Test func aSequenceFarAwayIsNoGap() {
        var line = ScannedConnection()
        line.client("GET / HTTP/1.1\r\n\r\n")
        line.server("HTTP/1.1 200 OK\r\n\r\n")
        let events = line.send(.server, [UInt8](repeating: 1, count: 5000), at: 1 << 30)
        #expect(events.reason == .gap)
    }

    @Test func sequencesWrap() {
        var line = ScannedConnection()
        line.next[.client] = 0xFFFF_FFFB
        line.pool.begin(line.handle, .client, sequence: 0xFFFF_FFFB)
        line.client("GET / HT")
        let events = line.client("TP/1.1\r\n\r\n")
        #expect(events.requestsEnded == 1)
    }

    /// Whatever the order within a window, the conversation is the same.
    @Test(arguments: 1...20)
    func swappedSegmentsChangeNothing(seed: Int) {
        print("order seed \(seed)")
        var random = SeededGenerator(seed: UInt64(seed))
        let stream = Self.head + Array("hello".utf8) + Self.head + Array("world".utf8)
        var line = ScannedConnection()
        var start = 0
        while start < stream.count {
            let first = min(Int.random(in: 1...40, using: &random), stream.count - start)
            let second = min(Int.random(in: 0...40, using: &random), stream.count - start - first)
            let pieces = [(0, first), (first, second)]
            let isSwapped = random.chance(percent: 50) && second > 0
            for (offset, count) in isSwapped ? pieces.reversed() : pieces where count > 0 {
                let bytes = Array(stream[start + offset..<start + offset + count])
                line.send(.client, bytes, at: offset == 0 || !isSwapped ? 0 : offset)
            }
            // Behind a swap the harness has counted the first piece only.
            line.next[.client] = 0xFFFF_FFF0 &+ UInt32(start + first + second)
            start += first + second
        }
        #expect(line.total.reason == .none, "seed \(seed)")
        #expect(line.total.ended == 2 && line.total.requestBytes == 10, "seed \(seed)")
    }
}
