import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

/// Nothing that can come through a tunnel stops the table, or lifts a flow beyond its ceiling.
@Suite struct HostilePacketTests {
    @Test(arguments: 1...8)
    func anyBytesAreTaken(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var tap = Tap(capacity: 200)
        tap.ceiling = .prompt
        let arena = ByteArena(count: 4_096)
        var taken = 0
        for _ in 0..<4_000 {
            let count = Int.random(in: 20...400, using: &generator)
            let bytes = arena.whole.prefix(count)
            for offset in 0..<count { bytes[offset] = UInt8(truncatingIfNeeded: generator.next()) }
            // Enough of it right to get past the first look.
            bytes[0] = generator.chance(percent: 80) ? 0x45 : bytes[0]
            if bytes[0] == 0x45 { bytes.storeBigEndian(UInt16(count), at: 2) }
            if generator.chance(percent: 80) { bytes[9] = generator.chance(percent: 70) ? 6 : 17 }
            if generator.chance(percent: 80) { bytes.storeBigEndian(UInt16(0), at: 6) }
            if generator.chance(percent: 70) {
                bytes.storeBigEndian(UInt64(0x0a00_0001_0a00_0002), at: 12)
            }
            guard let packet = IPPacket(bytes) else { continue }
            let verdict = tap.table.observe(
                packet, segmentByteCount: Int.random(in: 0...70_000, using: &generator),
                direction: generator.chance(percent: 50) ? .outbound : .inbound,
                tunnel: Int.random(in: 0..<3, using: &generator),
                peer: Int32.random(in: -1..<3, using: &generator), ceiling: tap.ceiling,
                rules: tap.rules, now: generator.next() >> 20)
            #expect(verdict.trafficClass >= .prompt)
            taken += 1
        }
        #expect(taken > 1_000)
        #expect(tap.table.count <= 200)
    }

    /// One connection, any numbers, sizes, flags and times.
    @Test(arguments: 1...8)
    func anyConnectionIsTaken(seed: Int) throws {
        var generator = SeededGenerator(seed: UInt64(seed))
        var tap = Tap()
        let connection = Connection()
        let words = ["POST /v1/chat/completions HTTP/1.1\r\n", "\r\n\r\n", "PRI * HTTP/2.0", "SSH-2.0-"]
        for _ in 0..<5_000 {
            let isWord = generator.chance(percent: 20)
            let payload = isWord
                ? Array(words.randomElement(using: &generator)!.utf8)
                : [UInt8](
                    repeating: 0x16,
                    count: Int.random(in: 0...(1 << Int.random(in: 0...12, using: &generator)),
                        using: &generator))
            _ = connection.pass(
                &tap, from: generator.chance(percent: 50) ? .client : .server, payload,
                sequence: UInt32(truncatingIfNeeded: generator.next()),
                flags: generator.chance(percent: 90)
                    ? TCPField.ack : UInt8(truncatingIfNeeded: generator.next()))
            tap.now &+= generator.next() >> UInt64.random(in: 20...63, using: &generator)
        }
        #expect(tap.table.count == 1)
        let record = try connection.record(tap)
        #expect(record.confidence <= 100)
    }

    /// Somebody who does not see a connection does not end it.
    @Test(arguments: [
        (TCPField.rst, (1 << 20) - 1, true), (TCPField.rst, 1 << 20, false),
        (TCPField.rst, -(1 << 20) + 1, true), (TCPField.rst, -(1 << 20), false),
        (TCPField.rst | TCPField.ack, 1 << 31, false), (TCPField.rst, 0, true),
    ])
    func aResetIsNearWhatIsExpected(flags: UInt8, distance: Int, isEnd: Bool) throws {
        var tap = Tap()
        tap.rules = ClassRules()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        for _ in 0..<20 {
            tap.wait(20)
            connection.send(&tap, from: .server, count: 180)
        }
        #expect(try connection.record(tap).phase == .streaming)
        for end in [Connection.End.server, .client] where end == .server || !isEnd {
            let next = end == .client ? connection.clientSequence : connection.serverSequence
            _ = connection.pass(
                &tap, from: end, [], sequence: next &+ UInt32(truncatingIfNeeded: distance),
                flags: flags)
        }
        #expect(try connection.record(tap).phase == (isEnd ? .idle : .streaming))
        #expect((tap.table.tunnels[0].retired.oldest >= 0) == isEnd)
    }

    /// A payload that lies far away makes no end of its FIN either.
    @Test func aForgedEndWithPayloadIsNone() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        for end in [Connection.End.client, .server] {
            _ = connection.pass(
                &tap, from: end, [1, 2, 3], sequence: 2_000_000_000,
                flags: TCPField.fin | TCPField.ack)
        }
        #expect(tap.table.tunnels[0].retired.oldest < 0)
    }

    @Test(arguments: [(UInt32(4_000_000_001), true), (5, false)])
    func aRefusalAcknowledgesWhatItRefuses(acknowledgment: UInt32, isEnd: Bool) {
        var tap = Tap()
        let connection = Connection(serverPort: 443)
        _ = connection.pass(&tap, from: .client, [], flags: TCPField.syn)
        var packet = connection.packet(
            from: .server, sequence: 0, flags: TCPField.rst | TCPField.ack)
        packet.acknowledgment = acknowledgment
        _ = tap.pass(packet, [], direction: .inbound)
        #expect((tap.table.tunnels[0].retired.oldest >= 0) == isEnd)
    }

    /// Whoever guessed well ended nothing: what goes on, goes on.
    @Test func whatGoesOnAfterAnEndHadNotEnded() throws {
        var tap = Tap(capacity: 100)
        var connection = Connection(clientPort: 60_000, serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        connection.send(&tap, from: .server, count: 180)
        _ = connection.pass(&tap, from: .server, [], flags: TCPField.rst)
        #expect(tap.table.tunnels[0].retired.oldest >= 0)
        // What was sent before is no sign.
        _ = connection.pass(
            &tap, from: .server, [1, 2, 3], sequence: connection.serverSequence &- 180,
            flags: TCPField.ack)
        #expect(tap.table.tunnels[0].retired.oldest >= 0)
        for _ in 0..<20 {
            tap.wait(20)
            connection.send(&tap, from: .server, count: 180)
        }
        #expect(tap.table.tunnels[0].retired.oldest < 0)
        #expect(try connection.record(tap).bytesIn == 21 * 180)
        connection.close(&tap)
        #expect(tap.table.tunnels[0].retired.oldest >= 0)
    }

    @Test func aClockThatStandsStillOrGoesBackIsBorne() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        for step in 0..<200 {
            connection.send(&tap, from: step % 7 == 0 ? .client : .server, count: 200)
            tap.now = step % 3 == 0 ? tap.now &- 40_000_000 : tap.now &+ 20_000_000
        }
        #expect(try connection.record(tap).bytesIn > 0)
    }

    @Test func aZeroWindowAndItsProbesAreNoStream() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 400)
        tap.wait(100)
        connection.send(&tap, from: .server, count: 14_000)
        for _ in 0..<100 {
            tap.wait(200)
            // The byte after the last that was taken, again and again.
            _ = connection.pass(
                &tap, from: .server, [1], sequence: connection.serverSequence &- 1,
                flags: TCPField.ack)
            var stop = connection.packet(from: .client)
            stop.window = 0
            _ = tap.pass(stop, [], direction: .outbound)
        }
        let record = try connection.record(tap)
        #expect(!record.isTokenStream)
        #expect(record.bytesIn == 14_000)
        #expect(record.retransmissions == 0)
    }

    /// Headers that lie about their length are none.
    @Test(arguments: [UInt8(0), 0x40, 0x60, 0xf0])
    func tcpHeadersThatDoNotFitAreNotTracked(offset: UInt8) {
        var tap = Tap()
        let arena = ByteArena(count: 4_096)
        let region = Connection().packet(from: .client).write([1, 2, 3], to: arena.whole)
        region[20 + TCPField.dataOffset] = offset
        let verdict = tap.table.observe(
            IPPacket(region)!, segmentByteCount: 0, direction: .outbound, tunnel: 0, peer: -1,
            ceiling: .control, rules: tap.rules, now: tap.now)
        // 0x60 says 24 bytes of header, where 23 are there.
        #expect(verdict.trafficClass == .prompt)
        #expect(tap.table.count == 0)
    }

    /// A sender of tiny segments in an endless run looks like tokens, and gets what tokens get.
    @Test func aStreamThatIsTooFastIsNoStream() {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 100)
        var last = TrafficClass.token
        for _ in 0..<10_000 {
            tap.wait(5)
            // 1.6 Mbit/s in chunks of 1,000 bytes.
            last = connection.send(&tap, from: .server, count: 1_000).trafficClass
        }
        #expect(last == .bulk)
    }
}
