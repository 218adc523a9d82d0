import PacketFormats
import TestSupport
import Testing

@testable import InferenceTraffic

/// What sizes and times alone show.
@Suite struct BehaviourTests {
    /// A question and an answer in chunks, without anything that could be read.
    private func stream(
        _ tap: inout Tap, _ connection: inout Connection, chunks: Int, gap: Double = 20,
        size: Int = 180
    ) -> FlowVerdict {
        connection.send(&tap, from: .client, count: 900)
        tap.wait(300)
        var verdict = connection.send(&tap, from: .server, count: size)
        for _ in 1..<chunks {
            tap.wait(gap)
            verdict = connection.send(&tap, from: .server, count: size)
            connection.acknowledge(&tap, from: .client)
        }
        return verdict
    }

    @Test func aRunOfSmallChunksIsATokenStream() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        let verdict = stream(&tap, &connection, chunks: 40)
        #expect(verdict.trafficClass == .token)
        let record = try connection.record(tap)
        #expect(record.isTokenStream)
        #expect(record.phase == .streaming)
        #expect(record.firstChunkNanoseconds == 300_000_000)
        #expect(record.interChunkNanoseconds == 20_000_000)
    }

    @Test(arguments: [(5, false), (6, true), (7, true)])
    func sixChunksInARowAreEnough(chunks: Int, isStream: Bool) throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        _ = stream(&tap, &connection, chunks: chunks)
        #expect(try connection.record(tap).isTokenStream == isStream)
    }

    @Test(arguments: [
        (4.0, true), (5.0, true), (100.0, true), (250.0, true), (251.0, false), (900.0, false),
    ])
    func gapsOfTokensAreWithinBounds(gap: Double, isStream: Bool) throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        _ = stream(&tap, &connection, chunks: 30, gap: gap)
        #expect(try connection.record(tap).isTokenStream == isStream)
    }

    @Test(arguments: [(1_200, true), (1_201, false), (1_400, false)])
    func chunksOfTokensAreSmall(size: Int, isStream: Bool) throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        _ = stream(&tap, &connection, chunks: 30, size: size)
        #expect(try connection.record(tap).isTokenStream == isStream)
    }

    @Test func aLongStreamStaysTokenWhateverItsBytes() {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        // 5,000 chunks are 900 kB, at 9 kB a second.
        #expect(stream(&tap, &connection, chunks: 5_000).trafficClass == .token)
    }

    @Test func aStreamThatTurnsIntoATransferIsDemoted() {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        #expect(stream(&tap, &connection, chunks: 50).trafficClass == .token)
        var last = TrafficClass.token
        for _ in 0..<40 {
            tap.wait(5)
            last = connection.send(&tap, from: .server, count: 14_000).trafficClass
        }
        #expect(last == .prompt)
        for _ in 0..<80 {
            tap.wait(5)
            last = connection.send(&tap, from: .server, count: 14_000).trafficClass
        }
        #expect(last == .bulk)
    }

    @Test func typingIsNoStreamOfTokens() throws {
        for port in [UInt16(22), 2_222] {
            var tap = Tap()
            var connection = Connection(serverPort: port)
            connection.open(&tap)
            var last = TrafficClass.bulk
            for key in 0..<400 {
                connection.send(&tap, from: .client, count: 36)
                tap.wait(15)
                last = connection.send(&tap, from: .server, count: 36).trafficClass
                tap.wait(Double(30 + key % 7 * 20))
            }
            #expect(last == .token)
            #expect(try !connection.record(tap).isTokenStream)
        }
    }

    @Test func whatSSHPrintsIsNoStreamOfTokens() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 22)
        connection.open(&tap)
        _ = stream(&tap, &connection, chunks: 200)
        #expect(try !connection.record(tap).isTokenStream)
    }

    @Test(arguments: [Connection.End.client, .server])
    func iperfIsBulkEitherWay(sender: Connection.End) throws {
        var tap = Tap()
        var connection = Connection(serverPort: 5_300)
        connection.open(&tap)
        connection.send(&tap, from: .client, [UInt8](repeating: 0x61, count: 36) + [0])
        var verdict = FlowVerdict(trafficClass: .token, flow: 0)
        for _ in 0..<100 {
            tap.wait(1)
            verdict = connection.send(&tap, from: sender, count: 28_000)
            connection.acknowledge(&tap, from: sender == .client ? .server : .client)
        }
        #expect(verdict.trafficClass == .bulk)
        #expect(try !connection.record(tap).isTokenStream)
    }

    /// `iperf3 -R -b 100k -l 500` looks like tokens, were it not for how it begins.
    @Test func slowIperfIsKnownByItsCookie() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 5_300)
        connection.open(&tap)
        connection.send(&tap, from: .client, [UInt8](repeating: 0x61, count: 36) + [0])
        for _ in 0..<100 {
            tap.wait(40)
            connection.send(&tap, from: .server, count: 500)
        }
        #expect(try !connection.record(tap).isTokenStream)
    }

    @Test func videoInBurstsIsNoStreamOfTokens() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        var last = TrafficClass.token
        for _ in 0..<20 {
            connection.send(&tap, from: .client, count: 400)
            tap.wait(30)
            for _ in 0..<30 {
                last = connection.send(&tap, from: .server, count: 42_000).trafficClass
                tap.wait(8)
            }
            tap.wait(2_000)
        }
        #expect(last == .bulk)
        #expect(try !connection.record(tap).isTokenStream)
    }

    @Test func aSlowDownloadOfFullSegmentsIsNoStreamOfTokens() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 300)
        var last = TrafficClass.token
        for _ in 0..<200 {
            tap.wait(12)
            last = connection.send(&tap, from: .server, count: 1_400).trafficClass
        }
        #expect(last == .prompt)
        #expect(try !connection.record(tap).isTokenStream)
    }

    @Test func windowUpdatesDoNotEndAStream() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        _ = stream(&tap, &connection, chunks: 40)
        connection.send(&tap, from: .client, count: 39)
        tap.wait(20)
        connection.send(&tap, from: .server, count: 180)
        let record = try connection.record(tap)
        #expect(record.requests == 1)
        #expect(record.chunks == 41)
    }

    @Test func aQuestionEndsAStreamAndBeginsAnother() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        _ = stream(&tap, &connection, chunks: 40)
        tap.wait(2_000)
        _ = stream(&tap, &connection, chunks: 10)
        let record = try connection.record(tap)
        #expect(record.requests == 2)
        #expect(record.chunks == 50)
        #expect(record.firstChunkNanoseconds == 300_000_000)
    }

    @Test func aStallIsCountedAndTheStreamGoesOn() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        _ = stream(&tap, &connection, chunks: 40)
        tap.wait(1_001)
        #expect(connection.send(&tap, from: .server, count: 180).trafficClass == .token)
        tap.wait(1_000)
        connection.send(&tap, from: .server, count: 180)
        let record = try connection.record(tap)
        #expect(record.stalls == 1)
        #expect(record.interChunkMaxNanoseconds == 1_001_000_000)
    }

    /// Session tickets of TLS come right after the question, and are no answer.
    @Test func whatComesLongBeforeTheRunIsNotItsFirstChunk() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        tap.wait(40)
        connection.send(&tap, from: .server, count: 500)
        tap.wait(700)
        for _ in 0..<10 {
            connection.send(&tap, from: .server, count: 180)
            tap.wait(20)
        }
        let record = try connection.record(tap)
        #expect(record.firstChunkNanoseconds == 740_000_000)
    }
}
