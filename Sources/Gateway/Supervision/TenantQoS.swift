import ControlModel
import EgressScheduling
import NodeAgent
import WireGuardConfiguration

/// What a tenant's tunnel is told of limits and QoS, and what it was told last.
///
/// An agent tells the QoS settings itself; then only its policy's rates are taken up here.
struct TenantQoS: Sendable {
    /// What is not yet as it should be.
    struct Step: Equatable {
        var settings: QoSSettings?
        var limits: TenantLimits?
    }

    private var path: String?
    private var local: LocalQoS?
    private var told: QoSSettings?
    private var toldLimits: TenantLimits?
    /// Why a policy's rates do not count as they are.
    private(set) var warning: String?

    /// - Parameter isFresh: Whether the tunnel is new, and so has the standard settings.
    init(isFresh: Bool) { told = isFresh ? QoSSettings() : nil }

    /// Why the tenant's file does not count.
    var fault: String? { local?.fault }

    /// What of all this is not in force, for the status.
    var notes: [String] { [fault, warning].compactMap(\.self) }

    /// Looks at the file, and says what the tunnel is to be told.
    ///
    /// - Parameter rates: What policies promise, by the tenant's agent; `nil` where it has none.
    /// - Returns: Whether there is another fault than before, too.
    mutating func step(
        of domain: TenantDomain, rates: TenantRates?
    ) -> (step: Step, isFaultNew: Bool) {
        var step = Step()
        guard rates == nil else {
            step.limits = limits(of: domain, rates ?? TenantRates())
            return (step, false)
        }
        let old = fault
        if path != domain.qos {
            path = domain.qos
            local = path.map { LocalQoS(QoSFile(path: $0)) }
        }
        _ = local?.look()
        let settings = QoSSettings(policy: nil, local: local?.policy)
        if settings != told { step.settings = settings }
        step.limits = limits(
            of: domain,
            TenantRates(
                minimum: local?.policy?.minimumRate, maximum: local?.policy?.maximumRate))
        return (step, fault != nil && fault != old)
    }

    /// The tunnel has taken it.
    mutating func note(_ step: Step) {
        told = step.settings ?? told
        toldLimits = step.limits ?? toldLimits
    }

    private mutating func limits(
        of domain: TenantDomain, _ rates: TenantRates
    ) -> TenantLimits? {
        warning = domain.limits.objection(to: rates)
        let wanted = domain.limits.completed(by: rates)
        return wanted == toldLimits ? nil : wanted
    }
}

extension TenantLimits {
    /// With a policy's rates where these limits have none. What the gateway's own file says is
    /// kept: a policy neither takes from what it promises nor goes beyond what it allows.
    ///
    /// A promise is at the cost of other tenants: without a rate in the gateway's own file that
    /// bounds it, a policy's counts for nothing.
    func completed(by rates: TenantRates) -> TenantLimits {
        func possible(_ rate: Int64?) -> Int64? {
            rate.map { min(max($0, Self.rates.lowerBound), Self.rates.upperBound) }
        }
        var limits = self
        if maximumRate == nil, let maximum = possible(rates.maximum) {
            limits.maximumRate = max(maximum, minimumRate ?? maximum)
        }
        if minimumRate == nil, let bound = maximumRate, let minimum = possible(rates.minimum) {
            limits.minimumRate = min(minimum, bound)
        }
        return limits
    }

    /// Why a policy's promise does not count in full, in words.
    func objection(to rates: TenantRates) -> String? {
        guard let minimum = rates.minimum else { return nil }
        guard let bound = minimumRate ?? maximumRate else {
            return "the policy's minimum_rate does not count: the gateway's own file of the tenant "
                + "has neither minimumRate nor maximumRate, which would bound it"
        }
        guard minimum > bound else { return nil }
        return "the policy's minimum_rate of \(minimum) bit/s counts as \(bound) bit/s, which the "
            + "gateway's own file of the tenant allows"
    }
}
