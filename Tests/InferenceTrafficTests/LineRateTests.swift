import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

/// Whatever one sender repeats, pads or leaves empty, it is not `token` at the rate of a line.
@Suite struct LineRateTests {
    /// The bytes that were `token` of `count` packets that follow each other at once.
    private func tokenBytes(
        _ tap: inout Tap, count: Int, _ pass: (inout Tap, Int) -> (FlowVerdict, byteCount: Int)
    ) -> Int {
        var sum = 0
        for index in 0..<count {
            let (verdict, byteCount) = pass(&tap, index)
            if verdict.trafficClass == .token { sum += byteCount }
            tap.wait(0.01)
        }
        return sum
    }

    @Test(arguments: [Connection.End.client, .server])
    func theSameSegmentAgainAndAgainSinks(end: Connection.End) {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 100)
        let start = end == .client ? connection.clientSequence : connection.serverSequence
        let payload = [UInt8](repeating: 7, count: 1_400)
        var last = TrafficClass.token
        let high = tokenBytes(&tap, count: 5_000) { tap, _ in
            let verdict = connection.pass(
                &tap, from: end, payload, sequence: start, flags: TCPField.ack)
            last = verdict.trafficClass
            return (verdict, 1_400)
        }
        #expect(high <= 16_384)
        #expect(last == .bulk)
    }

    /// A stream of tokens is sent again and again as soon as it was recognised.
    @Test func aChunkAgainAndAgainIsNoStream() {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        for _ in 0..<40 {
            tap.wait(20)
            connection.send(&tap, from: .server, count: 180)
        }
        let payload = [UInt8](repeating: 7, count: 180)
        let high = tokenBytes(&tap, count: 20_000) { tap, _ in
            let verdict = connection.pass(
                &tap, from: .server, payload, sequence: connection.serverSequence &- 180,
                flags: TCPField.ack)
            return (verdict, 180)
        }
        // A fifth of a second at the rate of tokens, what may be ahead of it, and a beginning.
        #expect(high <= 25_000 + 65_536 + 16_384)
    }

    /// One byte of payload is forty of header.
    @Test func manyTinySegmentsAreNoStream() {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        for _ in 0..<40 {
            tap.wait(20)
            connection.send(&tap, from: .server, count: 180)
        }
        let high = tokenBytes(&tap, count: 50_000) { tap, _ in
            (connection.send(&tap, from: .server, count: 1), 41)
        }
        #expect(high <= 62_500 + 65_536 + 16_384 * 41)
    }

    @Test func connectionsAgainAndAgainWithTheSamePortsSink() {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        let payload = [UInt8](repeating: 7, count: 14_000)
        let high = tokenBytes(&tap, count: 2_000) { tap, _ in
            connection.clientSequence &+= 1_000_000
            connection.open(&tap)
            return (connection.send(&tap, from: .client, payload), 14_000)
        }
        #expect(high <= 18 * 16_384, "\(high)")
    }

    @Test func anotherConnectionAfterSilenceBeginsHigh() {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        for _ in 0..<100 {
            connection.clientSequence &+= 1_000_000
            connection.open(&tap)
            connection.send(&tap, from: .client, count: 14_000)
        }
        tap.wait(5_000)
        connection.clientSequence &+= 1_000_000
        connection.open(&tap)
        #expect(connection.send(&tap, from: .client, count: 14_000).trafficClass == .token)
    }

    /// IPv6 with 1,360 bytes of destination options before a transport header without payload.
    private func padded(_ protocolNumber: UInt8, _ transport: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 40)
        bytes[0] = 0x60
        let payloadCount = 1_360 + transport.count
        (bytes[4], bytes[5]) = (UInt8(payloadCount >> 8), UInt8(payloadCount & 0xff))
        (bytes[6], bytes[7], bytes[8], bytes[24], bytes[39]) = (60, 64, 0xfd, 0xfd, 1)
        return bytes + [protocolNumber, 169] + [UInt8](repeating: 0, count: 1_358) + transport
    }

    @Test(arguments: [UInt8(6), 17])
    func paddedHeadersWithoutPayloadSink(protocolNumber: UInt8) {
        var tap = Tap()
        let transport: [UInt8] = protocolNumber == 17
            ? [0x9c, 0x40, 0x11, 0x51, 0, 8, 0, 0]
            : [0x9c, 0x40, 0x11, 0x51] + [UInt8](repeating: 0, count: 8) + [0x50, 0x10]
                + [UInt8](repeating: 0, count: 6)
        let bytes = padded(protocolNumber, transport)
        let arena = ByteArena(bytes)
        var last = TrafficClass.token
        let high = tokenBytes(&tap, count: 5_000) { tap, _ in
            guard let packet = IPPacket(arena.whole.prefix(bytes.count)) else {
                return (FlowVerdict(trafficClass: .token, flow: 0), .max)
            }
            let verdict = tap.table.observe(
                packet, segmentByteCount: 0, direction: .outbound, tunnel: 0, peer: 1,
                ceiling: .control, rules: tap.rules, now: tap.now)
            last = verdict.trafficClass
            return (verdict, bytes.count)
        }
        #expect(tap.table.count == 1)
        #expect(high <= 6_250 + 65_536)
        #expect(last == .bulk)
    }

    @Test func emptyDatagramsAtRateSink() {
        var tap = Tap()
        let packet = TapPacket(
            source: 1, destination: 2, sourcePort: 40_000, destinationPort: 4_433,
            protocolNumber: 17)
        let high = tokenBytes(&tap, count: 20_000) { tap, _ in
            (tap.pass(packet, [], direction: .outbound), 28)
        }
        #expect(high <= 25_000 + 65_536 + 28)
    }

    @Test func echoesAtRateSinkAndSlowOnesDoNot() {
        var tap = Tap()
        let packet = TapPacket(
            source: 1, destination: 2, sourcePort: 0, destinationPort: 0, protocolNumber: 1)
        let payload = [UInt8](repeating: 8, count: 560)
        var last = TrafficClass.token
        let high = tokenBytes(&tap, count: 5_000) { tap, _ in
            let verdict = tap.pass(packet, payload, direction: .outbound)
            last = verdict.trafficClass
            return (verdict, 580)
        }
        #expect(high <= 6_250 + 65_536)
        #expect(last == .bulk)
        // The other direction and another tunnel have their own.
        #expect(tap.pass(packet, payload, direction: .inbound).trafficClass == .token)
        #expect(tap.pass(packet, payload, direction: .outbound, tunnel: 1).trafficClass == .token)
        tap.wait(30_000)
        for _ in 0..<1_000 {
            tap.wait(100)
            #expect(tap.pass(packet, payload, direction: .outbound).trafficClass == .token)
        }
    }

    /// Fragments, and protocols that nobody here knows.
    @Test(arguments: [UInt8(17), 50, 132])
    func whatBelongsToNoFlowIsPromptAndThenBulk(protocolNumber: UInt8) {
        var tap = Tap()
        var packet = TapPacket(
            source: 1, destination: 2, sourcePort: 0, destinationPort: 0,
            protocolNumber: protocolNumber)
        packet.fragment = protocolNumber == 17 ? 0x2000 : 0
        let payload = [UInt8](repeating: 8, count: 1_000)
        var classes: [TrafficClass] = []
        for _ in 0..<2_000 {
            classes.append(tap.pass(packet, payload, direction: .outbound).trafficClass)
        }
        #expect(classes.first == .prompt)
        #expect(classes[1_000] == .prompt)
        #expect(classes.last == .bulk)
        #expect(classes == classes.sorted())
        tap.wait(20_000)
        #expect(tap.pass(packet, payload, direction: .outbound).trafficClass == .prompt)
    }

    /// Who makes fragments is not as many flows as it has packets, classed or not.
    @Test func fragmentsOfTwoHostsAreOneFlow() {
        var tap = Tap()
        var packet = TapPacket(
            source: 1, destination: 2, sourcePort: 5, destinationPort: 6, protocolNumber: 17)
        let whole = tap.pass(packet, [1], direction: .outbound).flow
        packet.fragment = 0x2000
        var flows: Set<UInt32> = []
        for identification in UInt16(0)..<50 {
            packet.identification = identification
            packet.fragment = identification % 2 == 0 ? 0x2000 : 100
            flows.insert(tap.pass(packet, [1], direction: .outbound).flow)
        }
        #expect(flows.count == 1)
        #expect(!flows.contains(whole))
        packet.destination = 3
        #expect(!flows.contains(tap.pass(packet, [1], direction: .outbound).flow))
        tap.rules = ClassRules(isClassifying: false)
        packet.destination = 2
        #expect(flows.contains(tap.pass(packet, [1], direction: .outbound).flow))
    }

    /// One segment in three is sent again, once and late.
    @Test func retransmissionsDoNotDemoteAStreamOfTokens() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 900)
        var generator = SeededGenerator(seed: 5)
        let payload = [UInt8](repeating: 7, count: 300)
        for _ in 0..<2_000 {
            tap.wait(10)
            let verdict = connection.send(&tap, from: .server, payload)
            #expect(verdict.trafficClass == .token)
            guard generator.chance(percent: 33) else { continue }
            tap.wait(3)
            let again = connection.pass(
                &tap, from: .server, payload, sequence: connection.serverSequence &- 300,
                flags: TCPField.ack)
            #expect(again.trafficClass == .token)
        }
        #expect(try connection.record(tap).isTokenStream)
    }
}
