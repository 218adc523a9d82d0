import EgressScheduling
import Foundation
import NodeAgent
import Testing
import WireGuardConfiguration

@testable import Gateway

/// What a tenant's tunnel is told, from its definition, its QoS file and a policy's rates.
@Suite struct TenantQoSTests {
    private let path = NSTemporaryDirectory() + "qos-\(UUID().uuidString).json"

    private func domain(qos: String? = nil) -> TenantDomain {
        TenantDomain(tenant: "acme", interface: "acme0", place: .namespace("acme"), qos: qos)
    }

    private func write(_ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    @Test func aNewTunnelWithoutAFileIsToldOfLimitsOnce() {
        var qos = TenantQoS(isFresh: true)
        let (first, _) = qos.step(of: domain(), rates: nil)
        #expect(first == .init(settings: nil, limits: TenantLimits()))
        qos.note(first)
        let (second, _) = qos.step(of: domain(), rates: nil)
        #expect(second == .init())
    }

    @Test func aTunnelOfAnEarlierProcessIsToldOfTheStandard() {
        var qos = TenantQoS(isFresh: false)
        let (step, _) = qos.step(of: domain(), rates: nil)
        #expect(step.settings == QoSSettings())
    }

    @Test func whatWasNotTakenIsToldAgain() throws {
        try write(#"{"link":{"rate":9000}}"#)
        var qos = TenantQoS(isFresh: true)
        let (first, _) = qos.step(of: domain(qos: path), rates: nil)
        let (second, _) = qos.step(of: domain(qos: path), rates: nil)
        #expect(first == second && first.settings?.link?.bitsPerSecond == 9_000)
    }

    @Test func theFileIsFollowedAndABrokenOneChangesNothing() throws {
        try write(#"{"weights":{"bulk":5},"maximum_rate":50000}"#)
        var qos = TenantQoS(isFresh: true)
        let (first, isFaulty) = qos.step(of: domain(qos: path), rates: nil)
        #expect(first.settings?.weights == [.bulk: 5] && !isFaulty)
        #expect(first.limits?.maximumRate == 50_000)
        qos.note(first)
        try write(#"{"weight":{"bulk":6}}"#)
        let (second, isNew) = qos.step(of: domain(qos: path), rates: nil)
        #expect(second == .init() && isNew)
        #expect(qos.fault == "\(path) is not used: nothing is known of weight")
        let (_, isNewAgain) = qos.step(of: domain(qos: path), rates: nil)
        #expect(!isNewAgain, "it is logged once")
        try write(#"{"weights":{"bulk":7}}"#)
        let (third, _) = qos.step(of: domain(qos: path), rates: nil)
        #expect(third.settings?.weights == [.bulk: 7] && qos.fault == nil)
        #expect(third.limits == TenantLimits())
        qos.note(third)
        try FileManager.default.removeItem(atPath: path)
        let (gone, _) = qos.step(of: domain(qos: path), rates: nil)
        #expect(gone.settings == QoSSettings())
        let (none, _) = qos.step(of: domain(), rates: nil)
        #expect(none.settings == QoSSettings())
    }

    @Test func ofATenantWithAnAgentOnlyRatesAreTakenUp() throws {
        try write(#"{"weights":{"bulk":5}}"#)
        var qos = TenantQoS(isFresh: true)
        let (step, _) = qos.step(
            of: domain(qos: path), rates: TenantRates(minimum: 2_000, maximum: 9_000))
        #expect(step.settings == nil)
        #expect(step.limits == TenantLimits(maximumRate: 9_000))
        #expect(qos.notes.count == 1 && qos.notes[0].contains("minimum_rate does not count"))
        qos.note(step)
        let (gone, _) = qos.step(of: domain(qos: path), rates: TenantRates())
        #expect(gone.limits == TenantLimits() && qos.notes.isEmpty)
    }

    /// The file of a tenant by hand is no better than a policy.
    @Test func aPromiseOfATenantsOwnFileNeedsABound() throws {
        try write(#"{"minimum_rate":10000000000000}"#)
        var qos = TenantQoS(isFresh: true)
        let (unbounded, _) = qos.step(of: domain(qos: path), rates: nil)
        #expect(unbounded.limits == TenantLimits())
        #expect(qos.warning?.contains("has neither minimumRate nor maximumRate") == true)
        var bounded = domain(qos: path)
        bounded.limits.maximumRate = 8_000
        let (held, _) = qos.step(of: bounded, rates: nil)
        #expect(held.limits == TenantLimits(minimumRate: 8_000, maximumRate: 8_000))
        #expect(qos.warning?.contains("counts as 8000 bit/s") == true)
        bounded.limits.minimumRate = 7_000
        _ = qos.step(of: bounded, rates: TenantRates(minimum: 6_000))
        #expect(qos.warning == nil, "no more than the file promises anyway")
    }

    @Test(arguments: [
        // Of the file, of the policy, and what comes of it.
        ([nil, nil], [nil, nil], [nil, nil]),
        // Nobody promises itself what the gateway's own file does not bound.
        ([nil, nil], [5_000, 6_000], [nil, 6_000]),
        ([nil, nil], [10_000_000_000_000, nil], [nil, nil]),
        ([7_000, 8_000], [5_000, 6_000], [7_000, 8_000]),
        // A promise of the file is kept, and its bound, too.
        ([7_000, nil], [nil, 6_000], [7_000, 7_000]),
        ([nil, 4_000], [5_000, nil], [4_000, 4_000]),
        ([nil, 4_000], [3_000, 9_000], [3_000, 4_000]),
        // What no tenant can have is the nearest that one can.
        ([nil, 9_000], [1, 999], [1_000, 9_000]),
        ([nil, nil], [1, 999], [nil, 1_000]),
        ([nil, nil], [nil, .max], [nil, 10_000_000_000_000]),
        // Not even a policy that was never checked makes limits that contradict.
        ([nil, nil], [9_000, 5_000], [nil, 5_000]),
        ([9_000, nil], [9_000, 5_000], [9_000, 9_000]),
    ] as [([Int64?], [Int64?], [Int64?])])
    func policiesFillWhatTheFileLeavesOpen(
        _ file: [Int64?], _ policy: [Int64?], _ result: [Int64?]
    ) {
        let limits = TenantLimits(weight: 3, minimumRate: file[0], maximumRate: file[1])
            .completed(by: TenantRates(minimum: policy[0], maximum: policy[1]))
        #expect([limits.minimumRate, limits.maximumRate] == result)
        #expect(limits.weight == 3 && limits.fault() == nil)
    }
}
