public import WireGuardConfiguration
import ControlModel

/// What all tenants of a gateway share, as `gateway.json` has it.
public struct GatewaySettings: Hashable, Sendable {
    /// The line that all of them leave by.
    public struct Link: Hashable, Sendable {
        /// In bits per second.
        public var rate: Int64
        /// What the line adds to each outer IP packet.
        public var overheadBytes: Int
        /// The rate changes, from here to ``rate``, and is followed; `nil`: it is always the same.
        public var minimumRate: Int64?

        public init(rate: Int64, overheadBytes: Int = 14, minimumRate: Int64? = nil) {
            self.rate = rate
            self.overheadBytes = overheadBytes
            self.minimumRate = minimumRate
        }

        /// As the engine takes it.
        public var line: QoSSettings.Link {
            QoSSettings.Link(
                bitsPerSecond: rate, overheadBytes: overheadBytes,
                minimumBitsPerSecond: minimumRate)
        }
    }


    /// The UDP port of all tenants.
    public var listenPort: UInt16
    /// Mark of outgoing datagrams; 0 for none.
    public var firewallMark: UInt32
    /// Data-plane threads; `nil` for one per processor.
    public var workers: Int?
    /// `nil`: its rate is not known, and nothing is held back.
    public var link: Link?

    public init(
        listenPort: UInt16 = 51820, firewallMark: UInt32 = 0, workers: Int? = nil,
        link: Link? = nil
    ) {
        self.listenPort = listenPort
        self.firewallMark = firewallMark
        self.workers = workers
        self.link = link
    }

    /// Says what is wrong; `nil` where nothing is.
    public func fault() -> TenantFault? {
        if listenPort == 0 {
            return TenantFault(.invalidValue, "\"listenPort\" is a port from 1 to 65535")
        }
        if let workers, workers < 1 {
            return TenantFault(.invalidValue, "\"workers\" is at least 1")
        }
        let rates = PolicyLimits.linkRates, overheads = PolicyLimits.overheadBytes
        if let link, !rates.contains(link.rate) {
            return TenantFault(
                .invalidValue,
                "\"link.rate\" is \(rates.lowerBound) to \(rates.upperBound) bits per second")
        }
        if let link, !overheads.contains(link.overheadBytes) {
            return TenantFault(
                .invalidValue, "\"link.overheadBytes\" is 0 to \(overheads.upperBound)")
        }
        return minimumFault()
    }

    private func minimumFault() -> TenantFault? {
        guard let link, let minimum = link.minimumRate else { return nil }
        let rates = PolicyLimits.linkRates
        if !rates.contains(minimum) {
            return TenantFault(
                .invalidValue,
                "\"link.minimumRate\" is \(rates.lowerBound) to \(rates.upperBound) bits per "
                    + "second")
        }
        guard minimum < link.rate else {
            return TenantFault(.invalidValue, "\"link.minimumRate\" is not below \"link.rate\"")
        }
        return nil
    }
}

extension GatewaySettings: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case listenPort, firewallMark, workers, link
    }

    public init(from decoder: any Decoder) throws {
        try decoder.refuseUnknownMembers(besides: CodingKeys.self)
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init()
        listenPort = try values.decodeIfPresent(UInt16.self, forKey: .listenPort) ?? listenPort
        firewallMark =
            try values.decodeIfPresent(UInt32.self, forKey: .firewallMark) ?? firewallMark
        workers = try values.decodeIfPresent(Int.self, forKey: .workers)
        link = try values.decodeIfPresent(Link.self, forKey: .link)
    }
}

extension GatewaySettings.Link: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case rate, overheadBytes, minimumRate
    }

    public init(from decoder: any Decoder) throws {
        try decoder.refuseUnknownMembers(besides: CodingKeys.self)
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(rate: try values.decode(Int64.self, forKey: .rate))
        overheadBytes =
            try values.decodeIfPresent(Int.self, forKey: .overheadBytes) ?? overheadBytes
        minimumRate = try values.decodeIfPresent(Int64.self, forKey: .minimumRate)
    }
}
