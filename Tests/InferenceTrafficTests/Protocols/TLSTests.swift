import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

@Suite struct TLSTests {
    static func record(_ type: UInt8, _ payload: [UInt8], minor: UInt8 = 3) -> [UInt8] {
        [type, 3, minor, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)] + payload
    }

    static func application(_ count: Int) -> [UInt8] {
        record(23, [UInt8](repeating: 0x17, count: count))
    }

    private static func sized(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
    }

    static func `extension`(_ type: UInt8, _ body: [UInt8]) -> [UInt8] {
        [0, type] + sized(body)
    }

    static func serverName(_ name: String) -> [UInt8] {
        `extension`(0, sized([0] + sized(Array(name.utf8))))
    }

    static func applicationProtocols(_ names: [String]) -> [UInt8] {
        `extension`(16, sized(names.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }))
    }

    /// X25519MLKEM768: 1,216 bytes of key share and more of padding, 1.8 KB in all.
    static let keyShare = `extension`(
        51, sized([0x11, 0xEC] + sized([UInt8](repeating: 0x5A, count: 1216))))
    static let padding = `extension`(21, [UInt8](repeating: 0, count: 380))

    static func hello(_ extensions: [[UInt8]]?, session: Int = 32) -> [UInt8] {
        var body: [UInt8] = [3, 3] + [UInt8](repeating: 9, count: 32)
        body += [UInt8(session)] + [UInt8](repeating: 8, count: session)
        body += sized([0x13, 0x01, 0x13, 0x02]) + [1, 0]
        if let extensions { body += sized(extensions.flatMap { $0 }) }
        return [1, 0] + sized(body)
    }

    static func serverHello(is13: Bool) -> [UInt8] {
        var body: [UInt8] = [3, 3] + [UInt8](repeating: 9, count: 32) + [0, 0x13, 0x01, 0]
        body += sized(
            is13 ? `extension`(43, [3, 4]) + `extension`(51, [0, 1]) : `extension`(16, [0, 0]))
        return record(22, [2, 0] + sized(body))
    }

    static let chatHello = hello([
        padding, serverName("API.example.com"), keyShare, applicationProtocols(["h2", "http/1.1"]),
    ])

    @Test(arguments: [1, 100, 700, 1200, 1460, 2000])
    func aHelloOfSeveralSegmentsIsRead(segment: Int) {
        let bytes = Self.record(22, Self.chatHello, minor: 1)
        #expect(bytes.count > 1700)
        var line = ScannedConnection()
        for start in stride(from: 0, to: bytes.count, by: segment) {
            #expect(line.total.hello == nil)
            line.send(.client, Array(bytes[start..<min(start + segment, bytes.count)]))
        }
        #expect(line.total.proto == .tls && line.total.reason == .none)
        #expect(line.total.hello?.applicationProtocols == [.http1, .http2])
        let hash = line.pool.hash(serverName: "api.example.com")
        #expect(hash != 0)
        #expect(line.total.hello?.serverNameHash == hash)
    }

    @Test func aHelloOfSeveralRecordsIsRead() {
        var line = ScannedConnection()
        for start in stride(from: 0, to: Self.chatHello.count, by: 500) {
            let part = Array(Self.chatHello[start..<min(start + 500, Self.chatHello.count)])
            line.send(.client, Self.record(22, part))
        }
        #expect(line.total.hello?.applicationProtocols == [.http1, .http2])
    }

    @Test func whatIsAbsentIsToldSo() {
        for hello in [Self.hello([]), Self.hello(nil), Self.hello([Self.keyShare], session: 0)] {
            var line = ScannedConnection()
            line.send(.client, Self.record(22, hello))
            #expect(line.total.hello == HelloSummary())
            #expect(line.total.reason == .none)
        }
        var other = ScannedConnection()
        other.send(
            .client, Self.record(22, Self.hello([Self.applicationProtocols(["acme-tls/1"])])))
        #expect(other.total.hello?.applicationProtocols == .other)
    }

    @Test func recordsOfApplicationDataAreCountedOnceTheHandshakeIsOver() {
        var line = ScannedConnection()
        line.send(.client, Self.record(22, Self.chatHello))
        // ServerHello, ChangeCipherSpec, and the encrypted rest of the handshake.
        var events = line.send(
            .server,
            Self.serverHello(is13: true) + Self.record(20, [1]) + Self.application(3000)
                + Self.application(53))
        #expect(events.records == 0)
        // Finished, then the request.
        events = line.send(
            .client, Self.record(20, [1]) + Self.application(53) + Self.application(700))
        #expect(events.kinds == .records)
        #expect(events.records == 1 && events.recordBytes == 700)
        events = line.send(
            .server, Self.application(90) + Self.application(120) + Self.application(70))
        #expect(events.records == 3 && events.recordBytes == 280)
        #expect(events.largestRecord == 120)
        // A record's later segments begin none.
        let long = Self.application(16_384 + 256)
        events = line.send(.server, Array(long[..<1000]))
        #expect(events.records == 1 && events.largestRecord == 16_640)
        events = line.send(.server, Array(long[1000...]))
        #expect(events.records == 0 && events.kinds == [])
    }

    @Test func allRecordsOfTLS12AreWhatTheySay() {
        var line = ScannedConnection()
        line.send(.client, Self.record(22, Self.chatHello))
        line.send(.server, Self.serverHello(is13: false) + Self.record(22, [11, 0, 0, 0]))
        line.send(.client, Self.record(22, [16, 0, 0, 0]) + Self.record(20, [1]))
        let events = line.send(.client, Self.application(700))
        #expect(events.records == 1 && events.recordBytes == 700)
    }

    @Test func aConnectionThatIsMetMidwayHasBoundariesOnly() {
        var line = ScannedConnection()
        let events = line.send(.server, Self.application(90) + Self.application(91))
        #expect(events.protocol == .tls)
        #expect(events.records == 2 && events.recordBytes == 181)
        let other = line.send(.client, Self.application(40))
        #expect(other.records == 1 && other.reason == .none)
    }

    @Test(arguments: [
        "160304000568656c6c6f",  // No ClientHello.
        "1603010000",  // An empty handshake record.
        "16030148011603",  // A record beyond its limit.
        "160201",  // SSL 2.
        "1603050001",  // No such version.
        "16030100250100002100000000",  // A hello that is too short for its random.
        "1503010002020a", "1703",
    ])
    func wrongRecordsEndTheScanner(hex: String) {
        var line = ScannedConnection()
        let events = line.send(.client, bytes(hex: hex))
        if hex == "1703" {
            #expect(events.reason == .none)
        } else {
            #expect(events.reason == .malformed || events.reason == .unknownProtocol)
        }
    }

    @Test func aHelloWhoseLengthsDisagreeEndsTheScanner() {
        var wrong = Self.chatHello
        // The length of the extensions, behind 4 + 2 + 32 + 33 + 6 + 2.
        #expect(Int(wrong[79]) << 8 | Int(wrong[80]) == wrong.count - 81)
        wrong[80] &-= 1
        var line = ScannedConnection()
        let events = line.send(.client, Self.record(22, wrong))
        #expect(events.reason == .malformed && line.total.hello == nil)
    }

    @Test func aSlowHelloEndsTheScanner() {
        var line = ScannedConnection()
        let bytes = Self.record(22, Self.chatHello)
        line.send(.client, Array(bytes[..<100]))
        line.now += ScanLimits.headNanosecondsMax + 1
        let events = line.send(.client, Array(bytes[100...]))
        #expect(events.reason == .slowHead)
    }

    @Test func aGapWithinARecordKeepsTheBoundaries() {
        var line = ScannedConnection()
        line.send(.server, Self.application(90))
        let long = Self.application(8000) + Self.application(77)
        line.send(.server, Array(long[..<1000]))
        // 1,000 to 4,000 are missing; then on to the end.
        line.next[.server]! &+= 3000
        let events = line.send(.server, Array(long[4000...]))
        #expect(events.kinds == [.gap, .records])
        #expect(events.records == 1 && events.largestRecord == 77)
    }

    @Test func aGapOverARecordsHeaderGivesTheBoundariesUp() {
        var line = ScannedConnection()
        line.send(.server, Self.application(90))
        let bytes = Self.application(100) + [UInt8](repeating: 1, count: 6000)
        line.send(.server, Array(bytes[..<10]))
        line.next[.server]! &+= 96
        let events = line.send(.server, Array(bytes[106...]))
        #expect(events.kinds == [.gap, .gaveUp] && events.reason == .gap)
    }
}
