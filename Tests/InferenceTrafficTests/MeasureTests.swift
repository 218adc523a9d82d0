import PacketFormats
import Testing

@testable import InferenceTraffic

@Suite struct MeasureTests {
    @Test func boundsAreThoseOfTheirNames() {
        func check(_ bounds: [Int], _ place: (UInt64) -> Int) {
            for (index, bound) in bounds.enumerated() {
                #expect(place(UInt64(bound) * 1_000) == index)
                #expect(place(UInt64(bound) * 1_000 - 1) == index)
                #expect(place(UInt64(bound) * 1_000 + 1) == index + 1)
            }
            #expect(place(0) == 0)
            #expect(place(.max) == bounds.count)
        }
        check(StreamMeasure.timeToFirstChunkBoundsMicroseconds, MeasureBounds.firstChunk)
        check(StreamMeasure.timePerOutputChunkBoundsMicroseconds, MeasureBounds.interChunk)
        #expect(
            MeasureBounds.firstChunkBounds
                == StreamMeasure.timeToFirstChunkBoundsMicroseconds.count)
        #expect(
            MeasureBounds.interChunkBounds
                == StreamMeasure.timePerOutputChunkBoundsMicroseconds.count)
    }

    private func stream(_ tap: inout Tap, _ connection: inout Connection) {
        connection.send(&tap, from: .client, count: 900)
        tap.wait(90)
        for _ in 0..<20 {
            connection.send(&tap, from: .server, count: 200)
            tap.wait(30)
        }
    }

    @Test func aStreamIsMeasuredForItsServiceAndPeer() throws {
        var tap = Tap()
        tap.rules = ClassRules(services: [
            ClassRules.Service(
                name: "chat", destination: IPPrefix("10.9.0.5/32")!, transport: .tcp,
                ports: [8_000...8_000], trafficClass: nil)
        ])
        var connection = Connection()
        connection.open(&tap)
        stream(&tap, &connection)
        let all = tap.table.measures(of: 0, rules: tap.rules)
        #expect(all.count == 1)
        let measure = try #require(all.first)
        #expect(measure.trafficClass == .token)
        #expect(measure.service == "chat")
        #expect(measure.peer == 7)
        #expect(measure.requests == 1)
        #expect(measure.streams == 1)
        #expect(measure.chunks == 20)
        #expect(measure.tokens == 0)
        #expect(measure.firstChunkCounts.reduce(0, +) == 1)
        #expect(measure.firstChunkCounts[7] == 1)
        #expect(measure.firstChunkSumNanoseconds == 90_000_000)
        // The chunks before the run was long enough are counted, not timed.
        #expect(measure.interChunkCounts[2] == 14)
        #expect(measure.interChunkSumNanoseconds == 14 * 30_000_000)
        #expect(tap.table.takeTokens(of: 0) == 20)
        #expect(tap.table.takeTokens(of: 0) == 0)
        #expect(tap.table.measures(of: 0, rules: ClassRules()).first?.service == nil)
        #expect(tap.table.measures(of: 1, rules: tap.rules).isEmpty)
    }

    @Test func measuresOfARemovedPeerAreNobodys() throws {
        var tap = Tap()
        for peer in [Int32(7), 8, 9] {
            var connection = Connection(clientPort: UInt16(100 + peer))
            connection.peer = peer
            connection.open(&tap)
            stream(&tap, &connection)
        }
        tap.table.remove(peers: [7, 8, -1, 5_000], of: 0)
        tap.table.remove(peers: [], of: 0)
        tap.table.remove(peers: [9], of: 1)
        let all = tap.table.measures(of: 0, rules: tap.rules)
        #expect(Set(all.map(\.peer)) == [-1, 9])
        let nobodys = try #require(all.first { $0.peer == -1 })
        #expect(nobodys.streams == 2)
        #expect(nobodys.chunks == 40)
        #expect(nobodys.firstChunkCounts[7] == 2)
        // The number may be given to another.
        var connection = Connection(clientPort: 900)
        connection.peer = 7
        connection.open(&tap)
        stream(&tap, &connection)
        let again = tap.table.measures(of: 0, rules: tap.rules).first { $0.peer == 7 }
        #expect(again?.streams == 1)
        #expect(again?.firstChunkCounts.reduce(0, +) == 1)
    }

    @Test func whoFindsNoRowIsCountedWithoutItsPeer() {
        var table = MeasureTable(seed: (1, 2))
        var notes = FlowNotes()
        notes.requests = 1
        var rows: [Int32] = [0, 0]
        for peer in Int32(0)..<5_000 {
            for tunnel in 0..<2 {
                table.add(
                    notes,
                    to: MeasureTable.Key(
                        tunnel: Int32(tunnel), peer: peer, serviceHash: UInt64(peer % 3),
                        trafficClass: .token),
                    rowsOfTunnel: &rows[tunnel])
            }
        }
        for tunnel in Int32(0)..<2 {
            let all = table.all(of: tunnel, rules: ClassRules())
            #expect(all.map(\.requests).reduce(0, +) == 5_000)
            #expect(all.count <= 520)
        }
        table.remove(tunnel: 0)
        #expect(table.all(of: 0, rules: ClassRules()).isEmpty)
        #expect(!table.all(of: 1, rules: ClassRules()).isEmpty)
    }

    /// Peers that come and go do not use up what their tunnel may have.
    @Test func rowsOfRemovedPeersAreGivenBack() {
        var tap = Tap()
        for peer in Int32(0)..<1_000 {
            var connection = Connection(clientPort: UInt16(100 + peer))
            connection.peer = peer
            connection.open(&tap)
            stream(&tap, &connection)
            tap.wait(11_000)
            tap.table.remove(peers: [peer], of: 0)
        }
        var connection = Connection(clientPort: 60_000)
        connection.peer = 3
        connection.open(&tap)
        stream(&tap, &connection)
        let all = tap.table.measures(of: 0, rules: tap.rules)
        #expect(all.map(\.streams).reduce(0, +) == 1_001)
        #expect(all.first { $0.peer == 3 }?.streams == 1)
    }

    /// Two with many peers leave room for those who come later.
    @Test func tunnelsThatComeLateHaveRowsOfTheirOwn() {
        var table = MeasureTable(seed: (1, 2))
        var notes = FlowNotes()
        notes.requests = 1
        for tunnel in Int32(0)..<14 {
            var rows: Int32 = 0
            for peer in Int32(0)..<(tunnel < 2 ? 5_000 : 15) {
                table.add(
                    notes,
                    to: MeasureTable.Key(
                        tunnel: tunnel, peer: peer, serviceHash: 5, trafficClass: .token),
                    rowsOfTunnel: &rows)
            }
            let all = table.all(of: tunnel, rules: ClassRules())
            #expect(all.count == Int(rows))
            #expect(tunnel < 2 ? all.count > 200 : all.map(\.peer) == Array(0..<15))
        }
    }

    @Test func retransmissionsAreCountedAndAreNoChunks() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        stream(&tap, &connection)
        let before = try connection.record(tap)
        for _ in 0..<3 {
            _ = connection.pass(
                &tap, from: .server, [UInt8](repeating: 0, count: 200),
                sequence: connection.serverSequence &- 200, flags: TCPField.ack)
            tap.wait(20)
        }
        let after = try connection.record(tap)
        #expect(after.retransmissions == 3)
        #expect(after.chunks == before.chunks)
        #expect(after.bytesIn == before.bytesIn)
        let measured = tap.table.measures(of: 0, rules: tap.rules).map(\.retransmissions)
        #expect(measured.reduce(0, +) == 3)
    }

    /// A request that is sent again was asked when it was sent first.
    @Test func aRetransmittedRequestDoesNotHideTheWait() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        tap.wait(250)
        _ = connection.pass(
            &tap, from: .client, [UInt8](repeating: 0, count: 900),
            sequence: connection.clientSequence &- 900, flags: TCPField.ack)
        tap.wait(50)
        for _ in 0..<10 {
            connection.send(&tap, from: .server, count: 200)
            tap.wait(30)
        }
        #expect(try connection.record(tap).firstChunkNanoseconds == 300_000_000)
    }
}
