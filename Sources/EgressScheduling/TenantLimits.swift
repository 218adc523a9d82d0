/// What one tenant of a gateway may use, and what it is sure of.
///
/// Rates count the bits of inner IP packets, each direction by itself. What is `nil` is not limited
/// (or, for the minimum, not promised).
public struct TenantLimits: Sendable, Hashable {
    /// Share of what nobody was promised, relative to the other tenants': 1...1,000.
    public var weight: Int = 1
    /// Bits per second that are served before anybody's excess.
    public var minimumRate: Int64?
    /// Bits per second that are never exceeded, also when nobody else sends.
    public var maximumRate: Int64?
    /// Packets per second that are never exceeded.
    public var maximumPacketsPerSecond: Int64?
    /// Handshake messages per second that are worked on.
    public var handshakesPerSecond: Int?
    /// Peers that may be configured.
    public var peersMax: Int?
    /// Connections that access rules remember at once, 8 bytes each.
    public var flowsMax: Int?

    public init(
        weight: Int = 1, minimumRate: Int64? = nil, maximumRate: Int64? = nil,
        maximumPacketsPerSecond: Int64? = nil, handshakesPerSecond: Int? = nil,
        peersMax: Int? = nil, flowsMax: Int? = nil
    ) {
        self.weight = weight
        self.minimumRate = minimumRate
        self.maximumRate = maximumRate
        self.maximumPacketsPerSecond = maximumPacketsPerSecond
        self.handshakesPerSecond = handshakesPerSecond
        self.peersMax = peersMax
        self.flowsMax = flowsMax
    }

    /// What is wrong with these limits, in words for the one who set them; `nil` if nothing is.
    public func fault() -> String? {
        if !Self.weights.contains(weight) {
            return "weight is \(weight); it must be from 1 to \(Self.weights.upperBound)"
        }
        let rates = [("minimumRate", minimumRate), ("maximumRate", maximumRate)]
        for case let (name, rate?) in rates where !Self.rates.contains(rate) {
            return "\(name) is \(rate) bit/s; it must be from \(Self.rates.lowerBound) "
                + "to \(Self.rates.upperBound)"
        }
        if let minimumRate, let maximumRate, minimumRate > maximumRate {
            return "minimumRate (\(minimumRate) bit/s) is above maximumRate (\(maximumRate) bit/s)"
        }
        if let maximumPacketsPerSecond, !Self.packetRates.contains(maximumPacketsPerSecond) {
            return "maximumPacketsPerSecond is \(maximumPacketsPerSecond); it must be from 1 to "
                + "\(Self.packetRates.upperBound)"
        }
        let counts = [
            ("handshakesPerSecond", handshakesPerSecond), ("peersMax", peersMax),
            ("flowsMax", flowsMax),
        ]
        for case let (name, count?) in counts where !Self.counts.contains(count) {
            return "\(name) is \(count); it must be from 1 to \(Self.counts.upperBound)"
        }
        return nil
    }

    public static let weights = 1...1_000
    /// Bits per second.
    public static let rates: ClosedRange<Int64> = 1_000...10_000_000_000_000
    public static let packetRates: ClosedRange<Int64> = 1...10_000_000_000
    /// Of handshakes per second, peers and flows.
    public static let counts = 1...1_000_000_000
}

extension TenantLimits: Codable {
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case weight, minimumRate, maximumRate, maximumPacketsPerSecond, handshakesPerSecond
        case peersMax, flowsMax
    }

    /// What is absent has its default; nothing is checked: see ``fault()``.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            weight: try values.decodeIfPresent(Int.self, forKey: .weight) ?? 1,
            minimumRate: try values.decodeIfPresent(Int64.self, forKey: .minimumRate),
            maximumRate: try values.decodeIfPresent(Int64.self, forKey: .maximumRate),
            maximumPacketsPerSecond: try values.decodeIfPresent(
                Int64.self, forKey: .maximumPacketsPerSecond),
            handshakesPerSecond: try values.decodeIfPresent(
                Int.self, forKey: .handshakesPerSecond),
            peersMax: try values.decodeIfPresent(Int.self, forKey: .peersMax),
            flowsMax: try values.decodeIfPresent(Int.self, forKey: .flowsMax))
    }
}
