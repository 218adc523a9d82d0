public import ControlModel
public import Telemetry

/// Counts for metrics.
public struct CoordinatorStatistics: Hashable, Sendable {
    public var tenants = 0
    public var nodes: [CoordinatorAPI.NodeState: Int] = [:]
    public var unusedTokens = 0
    public var auditEntries: Int64 = 0
    /// Nodes with a stream to this replica.
    public var connectedNodes = 0
    /// From the acceptance of a revocation list to the report of a connected gateway that it
    /// believes that list, in seconds.
    public var revocationLatencies = Histogram(bounds: revocationBounds)
    /// What nodes refused, by reason, as they reported it to this replica.
    public var refusals: [String: Int64] = [:]

    public init() {}

    static let revocationBounds: [Double] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]
}
