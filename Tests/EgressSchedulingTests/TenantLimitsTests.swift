import EgressScheduling
import Foundation
import Testing

@Suite struct TenantLimitsTests {
    @Test func defaultsAndBoundariesHaveNoFault() {
        let limits: [TenantLimits] = [
            .init(), .init(weight: 1), .init(weight: 1_000),
            .init(minimumRate: 1_000), .init(maximumRate: 10_000_000_000_000),
            .init(minimumRate: 5_000, maximumRate: 5_000),
            .init(maximumPacketsPerSecond: 1), .init(handshakesPerSecond: 1),
            .init(peersMax: 1), .init(flowsMax: 1_000_000_000),
        ]
        for limits in limits { #expect(limits.fault() == nil) }
    }

    @Test func contradictionsAreNamed() throws {
        let cases: [(TenantLimits, String)] = [
            (.init(weight: 0), "weight"), (.init(weight: -3), "weight"),
            (.init(weight: 1_001), "weight"),
            (.init(minimumRate: 999), "minimumRate"), (.init(minimumRate: -1), "minimumRate"),
            (.init(maximumRate: 0), "maximumRate"),
            (.init(maximumRate: 10_000_000_000_001), "maximumRate"),
            (.init(minimumRate: 5_001, maximumRate: 5_000), "above maximumRate"),
            (.init(maximumPacketsPerSecond: 0), "maximumPacketsPerSecond"),
            (.init(handshakesPerSecond: 0), "handshakesPerSecond"),
            (.init(peersMax: 0), "peersMax"), (.init(peersMax: .max), "peersMax"),
            (.init(flowsMax: -1), "flowsMax"),
        ]
        for (limits, word) in cases {
            let fault = try #require(limits.fault())
            #expect(fault.contains(word), "\(fault)")
        }
    }

    @Test func whatIsAbsentHasItsDefault() throws {
        let empty = try JSONDecoder().decode(TenantLimits.self, from: Data("{}".utf8))
        #expect(empty == TenantLimits())
        let some = try JSONDecoder().decode(
            TenantLimits.self, from: Data(#"{"weight":7,"maximumRate":2000000}"#.utf8))
        #expect(some == TenantLimits(weight: 7, maximumRate: 2_000_000))
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(TenantLimits.self, from: Data(#"{"weight":"x"}"#.utf8))
        }
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let limits = TenantLimits(
            weight: 3, minimumRate: 1_000, maximumRate: 2_000, maximumPacketsPerSecond: 4,
            handshakesPerSecond: 5, peersMax: 6, flowsMax: 7)
        let data = try JSONEncoder().encode(limits)
        #expect(try JSONDecoder().decode(TenantLimits.self, from: data) == limits)
    }
}
