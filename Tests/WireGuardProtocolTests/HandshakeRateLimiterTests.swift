import PacketFormats
import Testing

@testable import WireGuardProtocol

struct HandshakeRateLimiterTests {
    /// Milliseconds to wait before a message, and whether it is allowed: 20 a second, 5 at once.
    private static let steps: [(wait: UInt64, isAllowed: Bool)] = [
        (0, true), (0, true), (0, true), (0, true), (0, true), (0, false),
        (50, true), (0, false), (49, false), (1, true), (0, false),
        (100, true), (0, true), (0, false),
        (250, true), (0, true), (0, true), (0, true), (0, true), (0, false),
        (900, true), (0, true), (0, true), (0, true), (0, true), (0, false),
    ]

    private static let sources = [
        "127.0.0.1", "192.168.1.1", "172.167.2.3", "97.231.252.215", "248.97.91.167",
        "188.208.233.47", "104.2.183.179", "72.129.46.120", "2001:db8::1", "::1",
        "2001:db8:0:1::1", "fe80::1",
    ]

    @Test(arguments: sources)
    func burstThenOneForEachFiftyMilliseconds(_ source: String) throws {
        let address = try IPAddress(source).orThrow()
        let limiter = Tested()
        var now = 5 * second
        for (step, expectation) in Self.steps.enumerated() {
            now += expectation.wait * millisecond
            #expect(limiter.allow(address, now: now) == expectation.isAllowed, "step \(step)")
        }
    }

    @Test func sourcesDoNotShareTheirLimit() throws {
        let limiter = Tested()
        for source in Self.sources {
            let address = try IPAddress(source).orThrow()
            for _ in 0..<5 { #expect(limiter.allow(address, now: second)) }
            #expect(!limiter.allow(address, now: second))
        }
    }

    @Test func addressesOfOneSixtyFourShareTheirLimit() throws {
        let limiter = Tested()
        for host in 1...5 {
            #expect(limiter.allow(try IPAddress("2001:db8::\(host)").orThrow(), now: second))
        }
        #expect(!limiter.allow(try IPAddress("2001:db8::ffff:1").orThrow(), now: second))
        #expect(limiter.allow(try IPAddress("2001:db8:0:1::1").orThrow(), now: second))
    }

    @Test func anIPv4SourceIsNotTheIPv6SourceWithTheSameNumber() {
        let limiter = Tested()
        for _ in 0..<5 { #expect(limiter.allow(IPAddress(ipv4: 7), now: second)) }
        #expect(!limiter.allow(IPAddress(ipv4: 7), now: second))
        #expect(limiter.allow(IPAddress(high: 7, low: 0), now: second))
    }

    @Test func tableIsBoundedAndForgets() {
        let limiter = Tested()
        let most = UInt32(ImplementationLimits.rateLimiterEntryMax)
        for number in 0..<most { #expect(limiter.allow(IPAddress(ipv4: number), now: second)) }
        #expect(!limiter.allow(IPAddress(ipv4: most), now: second))
        #expect(limiter.allow(IPAddress(ipv4: 1), now: second))
        #expect(limiter.count == Int(most))
        #expect(limiter.allow(IPAddress(ipv4: most), now: 3 * second))
        #expect(limiter.count == 1)
    }

    @Test func clockThatGoesBackNeitherTrapsNorGrantsTokens() {
        let limiter = Tested()
        for _ in 0..<5 { #expect(limiter.allow(IPAddress(ipv4: 7), now: 100 * second)) }
        #expect(!limiter.allow(IPAddress(ipv4: 7), now: 100 * second - 900 * millisecond))
    }

    /// A limiter that expectations can change.
    private final class Tested {
        private var limiter = HandshakeRateLimiter()
        func allow(_ address: IPAddress, now: UInt64) -> Bool { limiter.allow(address, now: now) }
        var count: Int { limiter.count }
    }
}
