import ControlModel

/// What a change of a node says about which gateway others prefer, checked.
struct NodePreferenceChange: Sendable {
    private let priority: Int64?
    private let weight: Int64?
    private let health: [HealthTarget]?

    /// - Throws: `invalid_request`.
    init(_ change: CoordinatorAPI.NodeChange) throws {
        try Self.check(change.priority, GatewayPreference.priorities, "priority")
        try Self.check(change.weight, GatewayPreference.weights, "weight")
        priority = change.priority
        weight = change.weight
        health = try change.health.map { texts in
            guard texts.count <= GatewayPreference.targetsMax else {
                throw CoordinatorAPI.Problem.invalidRequest(
                    "a gateway has at most \(GatewayPreference.targetsMax) health targets")
            }
            return try texts.map { text in
                guard let target = HealthTarget(text) else {
                    throw CoordinatorAPI.Problem.invalidRequest(
                        "a health target is icmp:ADDRESS or tcp:ADDRESS:PORT of one host, such as "
                            + "tcp:10.0.0.5:443")
                }
                return target
            }
        }
    }

    /// - Throws: `invalid_request` where the node is no gateway.
    func apply(to row: inout NodeRow) throws {
        guard priority != nil || weight != nil || health != nil else { return }
        guard row.role == Role.gateway.rawValue else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "\(row.name) is a \(row.role): only gateways have priority, weight and health")
        }
        if let priority { row.priority = priority }
        if let weight { row.weight = weight }
        if let health {
            row.health = health.isEmpty ? nil : Texts.join(Set(health.map(\.description)))
        }
    }

    /// For the audit log.
    var details: [String: String] {
        var details: [String: String] = [:]
        if let priority { details["priority"] = "\(priority)" }
        if let weight { details["weight"] = "\(weight)" }
        if let health { details["health"] = Texts.join(health.map(\.description)) }
        return details
    }

    private static func check(
        _ number: Int64?, _ range: ClosedRange<Int64>, _ what: String
    ) throws {
        guard let number, !range.contains(number) else { return }
        throw CoordinatorAPI.Problem.invalidRequest(
            "the \(what) of a gateway is \(range.lowerBound) to \(range.upperBound)")
    }
}
