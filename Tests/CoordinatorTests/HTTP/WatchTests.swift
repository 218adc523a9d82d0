import ControlModel
import Cryptography
import Logging
import NIOCore
import NIOEmbedded
import NIOHTTP1
import Testing

@testable import Coordinator

@Suite struct WatchRingTests {
    @Test func whatIsThereFollowsANumber() {
        var ring = WatchRing(newest: 10)
        #expect(ring.frames(after: 10)?.isEmpty == true)
        #expect(ring.frames(after: 9) == nil)
        #expect(ring.frames(after: 11) == nil)
        #expect(ring.append(changes(11...13)).map(\.number) == [11, 12, 13])
        #expect(ring.frames(after: 10)?.map(\.number) == [11, 12, 13])
        #expect(ring.frames(after: 12)?.map(\.number) == [13])
        #expect(ring.frames(after: 13)?.isEmpty == true)
        #expect(ring.frames(after: 14) == nil)
    }

    @Test func changesThatAreThereAreNotTakenTwice() {
        var ring = WatchRing(newest: 0)
        _ = ring.append(changes(1...3))
        #expect(ring.append(changes(2...5)).map(\.number) == [4, 5])
        #expect(ring.append(changes(1...5)).isEmpty)
        #expect(ring.head == 5)
    }

    @Test func afterAGapTheRingBeginsAnew() {
        var ring = WatchRing(newest: 0)
        _ = ring.append(changes(1...3))
        #expect(ring.append(changes(7...8)).map(\.number) == [7, 8])
        #expect(ring.frames(after: 3) == nil)
        #expect(ring.frames(after: 6)?.map(\.number) == [7, 8])
    }

    @Test func numberAndBytesAreBounded() {
        var ring = WatchRing(newest: 0)
        for number in 1...Int64(3 * WatchRing.framesMax) {
            _ = ring.append(changes(number...number))
            #expect(ring.count <= WatchRing.framesMax)
        }
        let head = Int64(3 * WatchRing.framesMax)
        #expect(ring.frames(after: head - Int64(WatchRing.framesMax))?.count == 512)
        #expect(ring.frames(after: head - Int64(WatchRing.framesMax) - 1) == nil)
        // One that is larger than everything may be is kept nevertheless: it is the newest.
        let large = StoredChange(
            number: head + 1, audience: .all,
            payload: Array(repeating: 0x20, count: WatchRing.bytesMax + 1))
        _ = ring.append([large])
        #expect(ring.count == 1)
        #expect(ring.frames(after: head)?.count == 1)
        #expect(ring.frames(after: head - 1) == nil)
    }

    private func changes(_ numbers: ClosedRange<Int64>) -> [StoredChange] {
        numbers.map { StoredChange(number: $0, audience: .all, payload: [UInt8]("{}".utf8)) }
    }
}

@Suite struct WatchFrameTests {
    @Test func aFrameIsAChunkWithOneEvent() throws {
        let policy = AccessPolicy(rules: [], tests: [])
        let payload = try APIJSON.encode(CoordinatorAPI.NetworkChange(policy: policy))
        let frame = WatchFrame(StoredChange(number: 7, audience: .all, payload: payload))
        let lines = String(buffer: frame.buffer).split(separator: "\r\n", maxSplits: 1)
        let line = try #require(lines.last).dropLast()
        #expect(Int(lines[0], radix: 16) == line.utf8.count)
        #expect(line.last == "\n")
        let event = try APIJSON.decode(
            CoordinatorAPI.WatchEvent.self, from: line.dropLast().utf8)
        #expect(event.kind == .change)
        #expect(event.number == 7)
        #expect(event.change?.policy == policy)
    }

    @Test func nodesThatAListRevokesForGoodAreKnown() throws {
        let gone = SigningKey.generate()
        let away = SigningKey.generate()
        let admin = SigningKey.generate()
        let list = RevocationList(
            realm: .organisation, number: 1, issuedAt: 10,
            revocations: [
                Revocation(.node(gone.verifyingKey), until: 100),
                Revocation(.node(away.verifyingKey), serial: 5, until: 100),
            ])
        let text = try Statement.revocations(list).signed(by: admin)
        let payload = try APIJSON.encode(
            CoordinatorAPI.NetworkChange(revocations: "admin~\(text)"))
        #expect(WatchFrame.revoked(by: payload) == [gone.verifyingKey])
        #expect(WatchFrame.revoked(by: [UInt8]("{\"revocations\":\"a.b.c\"}".utf8)) == [])
        #expect(WatchFrame.revoked(by: [UInt8]("{\"revocations\":7}".utf8)) == [])
    }
}

@Suite struct WatchHubTests {
    private let source = FakeSource()
    private let acme = FakeSource.tenant

    @Test func eachChangeIsReadOnceForAllWatchers() async throws {
        let hub = makeHub()
        try await hub.open(acme)
        #expect(hub.head(acme) == 0)
        for _ in 0..<600 { source.add() }
        let before = source.reads
        try await hub.refresh(acme)
        #expect(hub.head(acme) == 600)
        #expect(source.reads - before == 3)
        #expect(hub.frames(acme, after: 599)?.map(\.number) == [600])
    }

    @Test func tenantsThatNobodyWatchesAreNotRead() async throws {
        let hub = makeHub()
        source.add()
        try await hub.refresh(acme)
        #expect(source.reads == 0)
        #expect(hub.head(acme) == nil)
    }

    @Test func announcementsAreFollowedThoughStorageFailsForAMoment() async throws {
        let hub = makeHub()
        try await hub.open(acme)
        let (announcements, continuation) = AsyncStream.makeStream(of: String.self)
        source.add()
        source.fail(2)
        continuation.yield("acme")
        continuation.yield("not a name")
        continuation.finish()
        await hub.run(announcements)
        #expect(hub.head(acme) == 1)
    }

    private func makeHub() -> WatchHub {
        WatchHub(
            source: source, limits: HTTPLimits(), counters: HTTPCounters(),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }
}
