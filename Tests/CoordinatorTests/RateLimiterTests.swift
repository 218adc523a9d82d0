import Testing

@testable import Coordinator

@Suite struct RateLimiterTests {
    private let second: Int64 = 1_000_000_000

    @Test func aBurstIsAllowedAndThenTheRate() {
        var limiter = RateLimiter<String>(rate: .init(burst: 3, perSecond: 2), entriesMax: 10)
        for _ in 0..<3 { #expect(limiter.take("a", now: 0) == .allowed) }
        #expect(limiter.take("a", now: 0) == .limited(retryAfterSeconds: 1))
        #expect(limiter.take("a", now: second / 2 - 1) == .limited(retryAfterSeconds: 1))
        #expect(limiter.take("a", now: second / 2) == .allowed)
        #expect(limiter.take("a", now: second / 2) == .limited(retryAfterSeconds: 1))
    }

    @Test func afterAPauseThereIsOneBurstAgainAndNotMore() {
        var limiter = RateLimiter<String>(rate: .init(burst: 2, perSecond: 1), entriesMax: 10)
        _ = limiter.take("a", now: 0)
        let later = 1000 * second
        #expect(limiter.take("a", now: later) == .allowed)
        #expect(limiter.take("a", now: later) == .allowed)
        #expect(limiter.take("a", now: later) == .limited(retryAfterSeconds: 1))
    }

    @Test func oneKeyDoesNotUseUpAnothers() {
        var limiter = RateLimiter<String>(rate: .init(burst: 1, perSecond: 1), entriesMax: 10)
        #expect(limiter.take("a", now: 0) == .allowed)
        #expect(limiter.take("a", now: 0) != .allowed)
        #expect(limiter.take("b", now: 0) == .allowed)
    }

    @Test func retryAfterSaysWhenATokenIsThere() {
        var limiter = RateLimiter<String>(rate: .init(burst: 1, perSecond: 0.1), entriesMax: 10)
        _ = limiter.take("a", now: 0)
        #expect(limiter.take("a", now: 0) == .limited(retryAfterSeconds: 10))
        #expect(limiter.take("a", now: 9 * second) == .limited(retryAfterSeconds: 1))
        #expect(limiter.take("a", now: 10 * second) == .allowed)
    }

    @Test func peekingTakesNothing() {
        var limiter = RateLimiter<String>(rate: .init(burst: 1, perSecond: 1), entriesMax: 10)
        for _ in 0..<5 { #expect(limiter.peek("a", now: 0) == .allowed) }
        _ = limiter.take("a", now: 0)
        #expect(limiter.peek("a", now: 0) == .limited(retryAfterSeconds: 1))
    }

    @Test func aFullTableForgetsNobodyWhoIsLimited() {
        var limiter = RateLimiter<Int>(rate: .init(burst: 1, perSecond: 0.001), entriesMax: 100)
        for key in 0..<100 { #expect(limiter.take(key, now: 0) == .allowed) }
        // Newcomers share one bucket.
        #expect(limiter.take(1000, now: 0) == .allowed)
        #expect(limiter.take(1001, now: 0) != .allowed)
        #expect(limiter.count == 100)
        for key in 0..<100 { #expect(limiter.take(key, now: second) != .allowed) }
    }

    @Test func whoIsFullAgainMakesRoom() {
        var limiter = RateLimiter<Int>(rate: .init(burst: 1, perSecond: 1), entriesMax: 100)
        for key in 0..<100 { _ = limiter.take(key, now: 0) }
        #expect(limiter.take(500, now: 2 * second) == .allowed)
        #expect(limiter.count == 1)
    }

    @Test func aClockThatGoesBackGivesNothing() {
        var limiter = RateLimiter<String>(rate: .init(burst: 1, perSecond: 1), entriesMax: 10)
        _ = limiter.take("a", now: 10 * second)
        #expect(limiter.take("a", now: 0) != .allowed)
        #expect(limiter.take("a", now: 10 * second) != .allowed)
    }
}

@Suite struct ClientAddressTests {
    @Test func anIPv6NetworkCountsAsOne() {
        #expect(ClientAddress("2001:db8:1:2::1") == ClientAddress("2001:db8:1:2:ffff::9"))
        #expect(ClientAddress("2001:db8:1:2::1") != ClientAddress("2001:db8:1:3::1"))
        #expect(ClientAddress("fe80::1%eth0") == ClientAddress("fe80::2%eth1"))
    }

    @Test func aMappedAddressIsTheIPv4One() {
        #expect(ClientAddress("::ffff:192.0.2.1") == ClientAddress("192.0.2.1"))
        #expect(ClientAddress("192.0.2.1") != ClientAddress("192.0.2.2"))
        #expect(ClientAddress("192.0.2.1").description == "192.0.2.1")
    }

    @Test func loopbackIsKnown() {
        #expect(ClientAddress("127.0.0.1").isLoopback)
        #expect(ClientAddress("127.255.0.9").isLoopback)
        #expect(ClientAddress("::1").isLoopback)
        #expect(ClientAddress("::ffff:127.0.0.1").isLoopback)
        #expect(!ClientAddress("128.0.0.1").isLoopback)
        #expect(!ClientAddress("::2").isLoopback)
        #expect(!ClientAddress("").isLoopback)
    }
}

@Suite struct ConnectionCountsTests {
    @Test func connectionsAreCountedInAllAndOfEachAddress() {
        var limits = HTTPLimits()
        limits.connectionsMax = 3
        limits.connectionsPerAddressMax = 2
        let counts = ConnectionCounts(limits: limits)
        let (first, second) = (ClientAddress("192.0.2.1"), ClientAddress("192.0.2.2"))
        #expect(counts.open(first))
        #expect(counts.open(first))
        #expect(!counts.open(first))
        #expect(counts.open(second))
        #expect(!counts.open(second))
        counts.close(first)
        #expect(counts.open(second))
        #expect(counts.connections == 3)
    }

    @Test func aStreamIsNoConnectionAnyMore() {
        var limits = HTTPLimits()
        limits.connectionsMax = 1
        limits.watchersMax = 1
        let counts = ConnectionCounts(limits: limits)
        let address = ClientAddress("192.0.2.1")
        #expect(counts.open(address))
        #expect(counts.beginWatch(address))
        #expect(counts.connections == 0)
        #expect(counts.open(address))
        #expect(!counts.beginWatch(address))
        counts.endWatch()
        #expect(counts.beginWatch(address))
    }
}
