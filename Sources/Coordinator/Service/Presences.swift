import ControlModel
import Cryptography
import Synchronization
import Telemetry

/// What a node last said of itself, until it is written.
struct Presence: Hashable, Sendable {
    var isConnected = false
    /// When its stream began.
    var connectedSince: ContinuousClock.Instant?
    var lastSeenAt: Int64?
    var appliedNumber: Int64?
    var tenantRevocations: Int64 = 0
    var organisationRevocations: Int64 = 0
    var agentVersion: String?
    /// What it refused, by its newest report.
    var nodeRefusals: [String: Int] = [:]
    /// Whether it has reported to this replica: the numbers of lists and refusals are its own.
    var hasReported = false
    /// What the table has.
    var writtenSeenAt: Int64?
    var writtenNumber: Int64?
    var writtenVersion: String?

    /// - Parameter isUrgent: Whether other replicas wait for what this node has applied.
    fileprivate func isDue(isUrgent: Bool) -> Bool {
        if appliedNumber != writtenNumber, isUrgent { return true }
        guard let lastSeenAt else { return false }
        return lastSeenAt >= (writtenSeenAt ?? 0) + ServiceLimits.lastSeenSeconds
    }
}

/// All nodes of which this replica heard, and the API tokens that it saw: in memory, because a
/// transaction for each sign of life would wear out the disk.
final class Presences: Sendable {
    struct Key: Hashable, Sendable {
        var tenant: Name
        var node: VerifyingKey
    }

    fileprivate struct Acceptance {
        var number: Int64
        var at: ContinuousClock.Instant
    }

    fileprivate struct State {
        var nodes: [Key: Presence] = [:]
        var connected = 0
        var tokensUsedAt: [String: Int64] = [:]
        /// The newest list of each realm.
        var acceptances: [String: Acceptance] = [:]
        var latencies = Histogram(bounds: CoordinatorStatistics.revocationBounds)
        var refusals: [String: Int64] = [:]
    }

    private let state = Mutex(State())

    subscript(key: Key) -> Presence? { state.withLock { $0.nodes[key] } }

    func presences(of keys: [Key]) -> [Presence?] {
        state.withLock { state in keys.map { state.nodes[$0] } }
    }

    func seen(_ key: Key, isConnected: Bool, at now: Int64) {
        state.withLock { state in
            var presence = state.presence(of: key)
            if presence.isConnected != isConnected { state.connected += isConnected ? 1 : -1 }
            if !presence.isConnected, isConnected { presence.connectedSince = .now }
            presence.isConnected = isConnected
            presence.lastSeenAt = now
            state.nodes[key] = presence
        }
    }

    /// Takes a report; a gateway's also says how long revocations took to get there.
    func report(_ key: Key, role: Role, _ report: CoordinatorAPI.Report, at now: Int64) {
        state.withLock { state in
            var presence = state.presence(of: key)
            presence.lastSeenAt = now
            presence.appliedNumber = report.appliedNumber
            if let version = report.agentVersion { presence.agentVersion = version }
            if role == .gateway, let since = presence.connectedSince {
                state.measure(
                    key.tenant.text, from: presence.tenantRevocations,
                    to: report.tenantRevocations, since: since)
                state.measure(
                    "", from: presence.organisationRevocations,
                    to: report.organisationRevocations, since: since)
            }
            presence.tenantRevocations = report.tenantRevocations
            presence.organisationRevocations = report.organisationRevocations
            presence.nodeRefusals = Self.named(report.refusals)
            presence.hasReported = true
            state.nodes[key] = presence
            for (reason, count) in report.refusals where count > 0 {
                let isKnown = Refusal.Reason(rawValue: reason) != nil
                let total = state.refusals[isKnown ? reason : "other"] ?? 0
                state.refusals[isKnown ? reason : "other"] =
                    total.addingReportingOverflow(Int64(count)).partialValue
            }
        }
    }

    /// The newest list of a tenant, or of the organisation, that a node reported.
    ///
    /// - Parameter tenant: `nil` for the organisation's list.
    /// - Parameter limit: Higher numbers are not believed.
    /// - Complexity: O(nodes).
    func newestRevocations(_ tenant: Name?, upTo limit: Int64) -> Int64 {
        state.withLock { state in
            var newest: Int64 = 0
            for (key, presence) in state.nodes where tenant == nil || key.tenant == tenant {
                let number = tenant == nil
                    ? presence.organisationRevocations : presence.tenantRevocations
                if number <= limit { newest = max(newest, number) }
            }
            return newest
        }
    }

    /// Remembers when a list came into force.
    func accepted(_ realm: String, number: Int64, agoMilliseconds: Int64 = 0) {
        state.withLock { state in
            guard state.acceptances[realm].map({ $0.number < number }) ?? true else { return }
            state.acceptances[realm] = Acceptance(
                number: number, at: .now - .milliseconds(agoMilliseconds))
        }
    }

    /// Whether this replica has heard of a list.
    func knows(_ realm: String, number: Int64) -> Bool {
        state.withLock { ($0.acceptances[realm]?.number ?? 0) >= number }
    }

    /// Refusals by reasons that look like ones; what does not is `other`.
    private static func named(_ refusals: [String: Int]) -> [String: Int] {
        var named: [String: Int] = [:]
        for (reason, count) in refusals where count > 0 {
            let isName = (1...reasonBytesMax).contains(reason.utf8.count)
                && reason.utf8.allSatisfy { byte in
                    UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte
                        || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
                }
            let key = isName && (named.count < reasonsMax || named[reason] != nil)
                ? reason : "other"
            named[key] = (named[key] ?? 0).addingReportingOverflow(count).partialValue
        }
        return named
    }

    private static let reasonBytesMax = 40
    private static let reasonsMax = 32

    func used(_ token: String, at now: Int64) {
        state.withLock { state in
            if state.tokensUsedAt.count < ServiceLimits.presencesMax {
                state.tokensUsedAt[token] = now
            }
        }
    }

    func lastUsed(_ token: String) -> Int64? { state.withLock { $0.tokensUsedAt[token] } }

    /// Hands out what is to be written about tokens.
    func takeTokens() -> [String: Int64] {
        state.withLock { state in
            defer { state.tokensUsedAt = [:] }
            return state.tokensUsedAt
        }
    }

    /// Hands out what is to be written about nodes, and takes it for written.
    func takeDue(isUrgent: Bool, isEnd: Bool) -> [(Key, Presence)] {
        state.withLock { state in
            var due: [(Key, Presence)] = []
            for (key, presence) in state.nodes {
                let isChanged = presence.lastSeenAt != presence.writtenSeenAt
                    || presence.appliedNumber != presence.writtenNumber
                guard presence.isDue(isUrgent: isUrgent) || isEnd && isChanged else { continue }
                due.append((key, presence))
                var written = presence
                written.writtenSeenAt = presence.lastSeenAt
                written.writtenNumber = presence.appliedNumber
                written.writtenVersion = presence.agentVersion
                state.nodes[key] = written
            }
            return due
        }
    }

    func forget(_ key: Key) {
        state.withLock { state in
            if state.nodes.removeValue(forKey: key)?.isConnected == true { state.connected -= 1 }
        }
    }

    func fill(_ statistics: inout CoordinatorStatistics) {
        state.withLock { state in
            statistics.connectedNodes = state.connected
            statistics.revocationLatencies = state.latencies
            statistics.refusals = state.refusals
        }
    }
}

extension Presences.State {
    /// Of a node, or a new one; of very many, one that is not connected makes room.
    fileprivate mutating func presence(of key: Presences.Key) -> Presence {
        if let presence = nodes[key] { return presence }
        if nodes.count >= ServiceLimits.presencesMax,
            let idle = nodes.first(where: { !$0.value.isConnected }) {
            nodes[idle.key] = nil
        }
        return Presence()
    }

    fileprivate mutating func measure(
        _ realm: String, from old: Int64, to new: Int64, since: ContinuousClock.Instant
    ) {
        // Who connected later got the list with its state, however old it was.
        guard let acceptance = acceptances[realm], old < acceptance.number,
            new >= acceptance.number, since <= acceptance.at
        else { return }
        let elapsed = ContinuousClock.now - acceptance.at
        let (seconds, attoseconds) = elapsed.components
        latencies.record(Double(seconds) + Double(attoseconds) * 1e-18)
    }
}
