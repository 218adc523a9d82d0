import CAllocationCounter
import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

@Suite struct ScannerPoolTests {
    static func feed(
        _ pool: inout ScannerPool, _ handle: ScannerHandle, _ text: String,
        sequence: UInt32 = 0, now: UInt64 = 0
    ) -> ScanEvents {
        let arena = ByteArena(Array(text.utf8))
        defer { withExtendedLifetime(arena) {} }
        return pool.feed(
            handle, arena.whole.prefix(text.utf8.count), sequence: sequence, from: .client,
            readsUsage: false, now: now)
    }

    @Test func aTunnelMayHaveEverythingWhileNobodyElseAsks() {
        var pool = ScannerPool(capacity: 8, tunnels: 4)
        for number in 0..<8 {
            let handle = pool.open(tunnel: 0, now: UInt64(number))
            #expect(!handle.isNone)
        }
        #expect(pool.count(of: 0) == 8)
    }

    /// One tenant's slow connections take their own contexts, and those beyond their share go.
    @Test func aFloodTakesNobodyElsesShare() {
        var pool = ScannerPool(capacity: 8, tunnels: 4)
        var now: UInt64 = 0
        for _ in 0..<8 { _ = pool.open(tunnel: 0, now: now) }
        var theirs: [ScannerHandle] = []
        for _ in 0..<4 {
            now += 1
            theirs.append(pool.open(tunnel: 1, now: now))
        }
        #expect(pool.count(of: 0) == 4 && pool.count(of: 1) == 4)
        for _ in 0..<1000 {
            now += 1
            let handle = pool.open(tunnel: 0, now: now)
            #expect(!handle.isNone)
        }
        #expect(pool.count(of: 0) == 4 && pool.count(of: 1) == 4)
        for handle in theirs {
            let events = Self.feed(&pool, handle, "GET / HTTP/1.1\r\n\r\n")
            #expect(events.requestsEnded == 1)
        }
    }

    @Test func threeTunnelsShareAlike() {
        var pool = ScannerPool(capacity: 9, tunnels: 3)
        for tunnel in [0, 1, 2] {
            for number in 0..<9 { _ = pool.open(tunnel: tunnel, now: UInt64(number)) }
        }
        #expect((0..<3).map { pool.count(of: $0) } == [3, 3, 3])
    }

    @Test func moreTunnelsThanContextsTakeTurns() {
        var pool = ScannerPool(capacity: 2, tunnels: 8)
        for tunnel in 0..<8 {
            let handle = pool.open(tunnel: tunnel, now: 0)
            let events = Self.feed(&pool, handle, "GET / HTTP/1.1\r\n\r\n")
            #expect(events.requestsEnded == 1)
        }
        #expect((0..<8).reduce(0) { $0 + pool.count(of: $1) } == 2)
    }

    @Test func theLeastRecentlyUsedGoesFirst() {
        var pool = ScannerPool(capacity: 3, tunnels: 1)
        let handles = (0..<3).map { _ in pool.open(tunnel: 0, now: 0) }
        let used = Self.feed(&pool, handles[0], "GET ", now: 1_000_000_000)
        #expect(used.reason == .none)
        _ = pool.open(tunnel: 0, now: 2_000_000_000)
        let gone = Self.feed(&pool, handles[1], "GET ", now: 2_000_000_000)
        #expect(gone.reason == .recycled && gone.kinds == .gaveUp)
        let kept = Self.feed(&pool, handles[0], "/ ", sequence: 4, now: 2_000_000_000)
        #expect(kept.reason == .none)
    }

    @Test func handlesThatAreGoneAreHarmless() {
        var pool = ScannerPool(capacity: 1, tunnels: 1)
        let first = pool.open(tunnel: 0, now: 0)
        pool.close(first)
        pool.close(first)
        #expect(pool.count(of: 0) == 0)
        let second = pool.open(tunnel: 0, now: 0)
        #expect(first != second)
        pool.close(first)
        let stale = Self.feed(&pool, first, "GET / HTTP/1.1\r\n\r\n")
        #expect(stale.reason == .recycled)
        let none = Self.feed(&pool, .none, "GET / HTTP/1.1\r\n\r\n")
        #expect(none.reason == .recycled)
        let fresh = Self.feed(&pool, second, "GET / HTTP/1.1\r\n\r\n")
        #expect(fresh.requestsEnded == 1)
    }

    /// A context says nothing of the connection that had it before.
    @Test func aContextBeginsAnew() {
        var pool = ScannerPool(capacity: 1, tunnels: 1)
        let first = pool.open(tunnel: 0, now: 0)
        let preface = String(decoding: HTTP2Writer.preface, as: UTF8.self)
        _ = Self.feed(&pool, first, preface)
        let request = HTTP2Writer.settings() + HTTP2Writer.headers(1, HTTP2Writer.chat)
        let arena = ByteArena(request)
        let open = pool.feed(
            first, arena.whole.prefix(request.count), sequence: 24, from: .client,
            readsUsage: false, now: 0)
        withExtendedLifetime(arena) {}
        #expect(open.openRequests == 1)
        pool.close(first)
        let second = pool.open(tunnel: 0, now: 0)
        let events = Self.feed(&pool, second, preface, sequence: 99)
        #expect(events.openRequests == 0 && events.reason == .none)
    }

    @Test func sshIsToldAndLeftAlone() {
        for side in [StreamSide.client, .server] {
            var line = ScannedConnection()
            let events = line.send(side, Array("SSH-2.0-OpenSSH_9.6\r\n".utf8))
            #expect(events.protocol == .ssh)
            #expect(events.kinds == [.protocolKnown, .gaveUp] && events.reason == .finished)
            #expect(line.pool.count(of: 0) == 0)
        }
    }

    /// Nothing that is in clear there decides anything.
    @Test(arguments: [
        ([0x16, 3, 1], true), ([0x16, 3, 4, 9], true), ([0x16, 3, 5], false), ([0x16, 2], false),
        ([0x17, 3, 3, 0, 9], true),
    ])
    func tlsIsToldAndLeftAlone(bytes: [UInt8], isTLS: Bool) {
        for side in [StreamSide.client, .server] {
            var line = ScannedConnection()
            let events = line.send(side, bytes)
            #expect(events.protocol == (isTLS ? .tls : .unknown))
            #expect(events.reason == (isTLS ? .finished : .unknownProtocol))
            #expect(line.pool.count(of: 0) == 0)
        }
    }

    @Test(arguments: 1...10)
    func randomBytesEndTheScanner(seed: Int) {
        print("garbage seed \(seed)")
        var random = SeededGenerator(seed: UInt64(seed))
        for _ in 0..<200 {
            var line = ScannedConnection()
            let side: StreamSide = random.chance(percent: 50) ? .client : .server
            // A port 80 that speaks something else: no byte that begins what is known.
            let first = UInt8.random(in: 0x80...0xFF, using: &random)
            let events = line.send(side, [first] + random.bytes(100))
            #expect(events.reason == .unknownProtocol)
        }
    }

    @Test func nothingAllocatesPerPacket() {
        var pool = ScannerPool(capacity: 16, tunnels: 2)
        let request = ByteArena(
            Array("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}".utf8))
        let answer = ByteArena(
            Array(
                ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 22\r\n"
                    + "\r\n{\"output_tokens\": 123}").utf8))
        let hello = ByteArena([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])
        let http2 = ByteArena(
            HTTP2Writer.preface + HTTP2Writer.settings()
                + HTTP2Writer.frame(
                    1, flags: 5, stream: 1,
                    HTTP2Writer.block(HTTP2Writer.chat, indexing: true)
                        + bytes(hex: "418cf1e3c2e5f23a6ba0ab90f4ff")))
        var (ended, hellos, tokens) = (0, 0, 0)
        func pass(_ pool: inout ScannerPool, _ now: UInt64) {
            let one = pool.open(tunnel: 0, now: now)
            let first = pool.feed(
                one, request.whole, sequence: 0, from: .client, readsUsage: true, now: now)
            let second = pool.feed(
                one, answer.whole, sequence: 0, from: .server, readsUsage: true, now: now)
            ended += Int(first.requestsEnded) + Int(second.responsesEnded)
            tokens += Int(second.tokens)
            let two = pool.open(tunnel: 1, now: now)
            let third = pool.feed(
                two, hello.whole, sequence: 0, from: .client, readsUsage: true, now: now)
            if third.protocol == .tls { hellos += 1 }
            let three = pool.open(tunnel: 1, now: now)
            // Out of order, too.
            let early = http2.whole.region(from: 30)
            _ = pool.feed(
                three, http2.whole.prefix(10), sequence: 0, from: .client, readsUsage: true,
                now: now)
            _ = pool.feed(
                three, early, sequence: 30, from: .client, readsUsage: true, now: now)
            let fourth = pool.feed(
                three, http2.whole.prefix(30), sequence: 0, from: .client, readsUsage: true,
                now: now)
            ended += Int(fourth.requestsEnded)
        }
        for round in 0..<10 { pass(&pool, UInt64(round)) }
        (ended, hellos, tokens) = (0, 0, 0)
        let before = allocations_of_this_thread()
        for round in 10..<110 { pass(&pool, UInt64(round)) }
        let count = allocations_of_this_thread() - before
        #expect(ended == 300 && hellos == 100 && tokens == 12_300)
        #if DEBUG
        print("skipped: allocations of table accesses are counted in release builds")
        #else
        #expect(count == 0)
        #endif
        print("allocations in 100 rounds: \(count)")
        withExtendedLifetime((request, answer, hello, http2)) {}
    }
}
