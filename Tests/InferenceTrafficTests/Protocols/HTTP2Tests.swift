import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

@Suite struct HTTP2Tests {
    typealias Writer = HTTP2Writer

    /// A connection behind both prefaces.
    static func open(
        client: [(UInt16, UInt32)] = [], server: [(UInt16, UInt32)] = []
    ) -> ScannedConnection {
        var line = ScannedConnection()
        line.send(.client, Writer.preface + Writer.settings(client))
        line.send(.server, Writer.settings(server) + Writer.frame(4, flags: 1))
        line.send(.client, Writer.frame(4, flags: 1) + Writer.frame(8, [0, 0, 1, 0]))
        return line
    }

    @Test func aStreamedAnswerIsSeenFromItsHeadToItsEnd() {
        var line = Self.open()
        #expect(line.total.proto == .http2 && line.total.reason == .none)
        var events = line.send(.client, Writer.headers(1, Writer.chat))
        #expect(events.kinds == [.requestStarted, .requestHeaders])
        #expect(events.request.method == .post && events.request.path == .generation)
        #expect(events.request.contentType == .json && events.openRequests == 1)
        events = line.send(.client, Writer.data(1, [1, 2, 3], ends: true))
        #expect(events.kinds == .requestEnded)
        #expect(events.requestBodyBytes == 3)
        events = line.send(.server, Writer.headers(1, [(":status", "103")]))
        #expect(events.kinds == .interimResponse)
        events = line.send(.server, Writer.headers(1, Writer.events))
        #expect(events.kinds == .responseHeaders && events.tokenStreams == 1)
        events = line.send(.server, Writer.data(1, [1]) + Writer.data(1, [2, 3]))
        #expect(events.kinds == .responseChunk)
        #expect(events.responseChunks == 2 && events.responseBodyBytes == 3)
        events = line.send(.server, Writer.headers(1, [("x-trailer", "1")], ends: true))
        #expect(events.kinds == .responseEnded)
        #expect(events.tokenStreams == 0 && events.openRequests == 0)
    }

    @Test func theServerMaySpeakFirst() {
        var line = ScannedConnection()
        let events = line.send(.server, Writer.settings([(3, 100)]))
        #expect(events.protocol == .http2)
        line.send(.client, Writer.preface + Writer.settings())
        let request = line.send(.client, Writer.headers(1, Writer.chat, ends: true))
        #expect(request.requestsEnded == 1 && request.reason == .none)
    }

    @Test func paddingPriorityAndContinuationAreNoContent() {
        var line = Self.open()
        let block = Writer.block(Writer.chat)
        let padded = [3] + [0x80, 0, 0, 0, 15] + block[..<10] + [0, 0, 0]
        var events = line.send(.client, Writer.frame(1, flags: 0x28, stream: 1, padded))
        #expect(events.kinds == .requestStarted)
        events = line.send(.client, Writer.frame(9, stream: 1, Array(block[10..<20])))
        #expect(events.kinds == [])
        line.send(.client, Writer.frame(9, stream: 1))
        events = line.send(.client, Writer.frame(9, flags: 4, stream: 1, Array(block[20...])))
        #expect(events.kinds == .requestHeaders && events.request.path == .generation)
        events = line.send(.client, Writer.frame(0, flags: 9, stream: 1, [2, 7, 7, 0, 0]))
        #expect(events.requestBodyBytes == 2 && events.kinds == .requestEnded)
        // All padding, nothing within.
        events = line.send(.client, Writer.frame(0, flags: 8, stream: 1, [2, 0, 0]))
        #expect(events.kinds == [] && events.requestBodyBytes == 0)
    }

    @Test func interleavedStreamsAreToldApart() {
        var line = Self.open()
        for stream: UInt32 in [1, 3, 5] {
            line.send(.client, Writer.headers(stream, Writer.chat, ends: stream != 3))
        }
        #expect(line.total.open == 3 && line.total.ended == 2)
        line.send(.server, Writer.headers(3, [(":status", "200")]) + Writer.data(3, [1]))
        #expect(line.total.streaming == 0)
        line.send(.server, Writer.headers(5, Writer.events))
        line.send(.server, Writer.headers(1, Writer.events) + Writer.data(3, [1]))
        #expect(line.total.streaming == 2)
        line.send(.server, Writer.data(5, [1], ends: true) + Writer.data(1, [2]))
        #expect(line.total.streaming == 1 && line.total.open == 2)
        // The client cancels the other one.
        line.send(.client, Writer.frame(3, stream: 1, [0, 0, 0, 8]))
        #expect(line.total.streaming == 0 && line.total.open == 1)
        #expect(line.total.finished == 2)
    }

    @Test func streamsBeyondTheBoundAreReadAndNotFollowed() {
        var line = Self.open()
        for number in 0..<20 {
            line.send(.client, Writer.headers(UInt32(2 * number + 1), Writer.chat, ends: true))
        }
        #expect(line.total.started == 20 && line.total.ended == 20)
        #expect(line.total.open == ScanLimits.streamsMax)
        line.send(.server, Writer.headers(39, Writer.events) + Writer.data(39, [1]))
        #expect(line.total.answered == 1 && line.total.streaming == 0)
        line.send(.server, Writer.headers(1, Writer.events))
        #expect(line.total.streaming == 1 && line.total.reason == .none)
    }

    @Test func theDynamicTableLivesAcrossRequests() {
        var line = Self.open()
        let block = Writer.block(Writer.chat, indexing: true)
        line.send(.client, Writer.frame(1, flags: 5, stream: 1, block))
        // Newest first: content-type 62, :authority 63, :path 64, :scheme 65, :method 66.
        let events = line.send(
            .client, Writer.frame(1, flags: 5, stream: 3, [0xC2, 0xC0, 0xBE]))
        #expect(events.request == line.total.requests.first)
        #expect(events.request.path == .generation && line.total.requests.count == 2)
    }

    /// RFC 7541, section 4.2; RFC 9113, section 6.5.2.
    @Test func theTableGrowsAsTheOtherSideAllows() {
        let update: [UInt8] = [0x3F, 0xE1, 0xFF, 0x03]  // 65,536
        let block = update + Writer.block(Writer.chat)
        var allowed = Self.open(server: [(1, 65_536)])
        let accepted = allowed.send(.client, Writer.frame(1, flags: 5, stream: 1, block))
        #expect(accepted.reason == .none && accepted.request.path == .generation)
        // What the client itself says is about the server's table.
        var wrongSide = Self.open(client: [(1, 65_536)])
        let refused = wrongSide.send(.client, Writer.frame(1, flags: 5, stream: 1, block))
        #expect(refused.reason == .malformed)
    }

    @Test func framesAreAsLargeAsTheOtherSideAllows() {
        var small = Self.open()
        small.send(.client, Writer.headers(1, Writer.chat))
        let largest = small.send(.client, Writer.data(1, [UInt8](repeating: 0, count: 16_384)))
        #expect(largest.reason == .none && largest.requestBodyBytes == 16_384)
        let tooLarge = small.send(.client, Writer.data(1, [UInt8](repeating: 0, count: 16_385)))
        #expect(tooLarge.reason == .malformed)
        var large = Self.open(server: [(5, 65_536)])
        large.send(.client, Writer.headers(1, Writer.chat))
        let allowed = large.send(.client, Writer.data(1, [UInt8](repeating: 0, count: 65_536)))
        #expect(allowed.reason == .none && allowed.requestBodyBytes == 65_536)
    }

    @Test func pushedFieldsKeepTheTableRightAndAnswerNobody() {
        var line = Self.open()
        line.send(.client, Writer.headers(1, Writer.chat, ends: true))
        let promise = [0, 0, 0, 2] + Writer.block(Writer.events, indexing: true)
        var events = line.send(.server, Writer.frame(5, flags: 4, stream: 1, promise))
        #expect(events.kinds == [] && events.reason == .none)
        events = line.send(.server, Writer.headers(2, Writer.events, ends: true))
        #expect(events.kinds == [])
        // The promise's fields, by their indices.
        events = line.send(.server, Writer.frame(1, flags: 4, stream: 1, [0xBF, 0xBE]))
        #expect(events.response.status == 200 && events.tokenStreams == 1)
    }

    // MARK: - gRPC

    static let grpc = [(":status", "200"), ("content-type", "application/grpc")]

    static func message(_ count: Int) -> [UInt8] {
        [0] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) }
            + [UInt8](repeating: 7, count: count)
    }

    @Test func grpcStreamsFromItsSecondMessageOn() {
        var line = Self.open()
        line.send(
            .client,
            Writer.headers(
                1,
                [
                    (":method", "POST"), (":path", "/inference.GRPCInferenceService/Infer"),
                    ("content-type", "application/grpc"), ("te", "trailers"),
                ]) + Writer.data(1, Self.message(20), ends: true))
        #expect(line.total.requests.first?.contentType == .grpc)
        line.send(.server, Writer.headers(1, Self.grpc))
        let whole = Self.message(300)
        // One message in two DATA frames is one.
        var events = line.send(.server, Writer.data(1, Array(whole[..<3])))
        #expect(events.responseChunks == 0 && events.tokenStreams == 0)
        events = line.send(.server, Writer.data(1, Array(whole[3...])))
        #expect(events.responseChunks == 1 && events.tokenStreams == 0)
        // Two in one, the first of them empty.
        events = line.send(.server, Writer.data(1, Self.message(0) + Self.message(9)))
        #expect(events.responseChunks == 2 && events.tokenStreams == 1)
        events = line.send(
            .server, Writer.headers(1, [("grpc-status", "0")], ends: true))
        #expect(events.kinds == .responseEnded && events.tokenStreams == 0)
    }

    @Test func aSingleMessageDoesNotStream() {
        var line = Self.open()
        line.send(.client, Writer.headers(1, Writer.chat, ends: true))
        line.send(.server, Writer.headers(1, Self.grpc))
        line.send(.server, Writer.data(1, Self.message(5000)))
        #expect(line.total.streaming == 0)
        line.send(.server, Writer.headers(1, [("grpc-status", "0")], ends: true))
        #expect(line.total.finished == 1)
    }

    // MARK: - Wrong

    static let wrong: [(StreamSide, [UInt8], GiveUpReason)] = [
        (.client, Writer.frame(9, flags: 4, stream: 1, [0x82]), .malformed),
        (.client, Writer.frame(1, stream: 1, [0x82]) + Writer.data(1, [1]), .malformed),
        (.client, Writer.frame(1, stream: 1, [0x82]) + Writer.frame(9, stream: 3), .malformed),
        (.client, Writer.headers(2, Writer.chat), .malformed),
        (.client, Writer.headers(0, Writer.chat), .malformed),
        (.client, Writer.data(0, [1]), .malformed),
        (.client, Writer.frame(0, flags: 8, stream: 1, []), .malformed),
        (.client, Writer.frame(0, flags: 8, stream: 1, [2, 0]), .malformed),
        (.client, Writer.frame(1, flags: 0x24, stream: 1, [0, 0, 0, 0]), .malformed),
        (.client, Writer.frame(4, [0, 1, 0, 0, 0]), .malformed),
        (.client, Writer.frame(4, flags: 1, [0, 1, 0, 0, 0, 0]), .malformed),
        (.client, Writer.frame(4, stream: 1), .malformed),
        (.client, Writer.frame(3, stream: 1, [0]), .malformed),
        (.client, Writer.frame(6, [0]), .malformed),
        (.client, Writer.frame(5, flags: 4, stream: 1, [0, 0, 0, 2]), .malformed),
        (.client, Writer.frame(1, flags: 4, stream: 1, [0x80]), .malformed),
        (.client, Writer.frame(1, flags: 4, stream: 1, [0x00, 0x05]), .malformed),
        (
            .client, Writer.headers(1, [(":method", "POST"), ("transfer-encoding", "chunked")]),
            .ambiguous
        ),
        (.client, Writer.headers(1, [("content-length", "5, 6")]), .ambiguous),
    ]

    @Test(arguments: wrong.indices)
    func wrongFramesEndTheScanner(index: Int) {
        let (side, bytes, reason) = Self.wrong[index]
        var line = Self.open()
        let events = line.send(side, bytes)
        #expect(events.reason == reason, "case \(index)")
    }

    @Test func settingsComeFirst() {
        var line = ScannedConnection()
        let events = line.send(.client, Writer.preface + Writer.headers(1, Writer.chat))
        #expect(events.reason == .malformed)
        var server = ScannedConnection()
        server.send(.client, Writer.preface + Writer.settings())
        let refused = server.send(.server, Writer.frame(4, flags: 1))
        #expect(refused.reason == .malformed)
    }

    @Test func endlessContinuationEndsTheScanner() {
        var line = Self.open()
        line.send(.client, Writer.frame(1, stream: 1))
        var frames = 0
        while line.total.reason == .none, frames < 100_000 {
            line.send(.client, Writer.frame(9, stream: 1))
            frames += 1
        }
        #expect(line.total.reason == .hugeHead)
        var other = Self.open()
        other.send(.client, Writer.frame(1, stream: 1))
        let fields = Writer.block([("a", String(repeating: "b", count: 16_000))])
        for _ in 0..<5 { other.send(.client, Writer.frame(9, stream: 1, fields)) }
        #expect(other.total.reason == .hugeHead)
    }

    @Test func aSlowHeadEndsTheScanner() {
        var line = Self.open()
        line.send(.client, Writer.frame(1, stream: 1, [0x82]))
        line.now += ScanLimits.headNanosecondsMax + 1
        let events = line.send(.client, Writer.frame(9, flags: 4, stream: 1, [0x84]))
        #expect(events.reason == .slowHead)
    }
}
