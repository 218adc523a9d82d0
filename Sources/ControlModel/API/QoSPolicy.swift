/// How traffic is told apart, ordered and marked: a tenant's, as the coordinator hands it out, or
/// one interface's, as a local file says.
///
/// Every member may be absent. Texts are kept as they came, so that a node understands what it can
/// of a policy that is newer than itself.
public struct QoSPolicy: Codable, Hashable, Sendable {
    /// Traffic to, or from, a service belongs to a class whatever its packets look like.
    public struct Service: Codable, Hashable, Sendable {
        public var name: String
        /// Network of the service.
        public var destination: String
        /// `tcp`, `udp` or `*`.
        public var transport: String
        public var ports: [String]
        /// A class of ``ClassCeiling``; `nil` names the service only.
        public var trafficClass: String?

        public init(
            name: String, destination: String, transport: String, ports: [String] = [],
            trafficClass: String? = nil
        ) {
            self.name = name
            self.destination = destination
            self.transport = transport
            self.ports = ports
            self.trafficClass = trafficClass
        }

        public init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            name = try values.decode(String.self, forKey: .name)
            destination = try values.decode(String.self, forKey: .destination)
            transport = try values.decode(String.self, forKey: .transport)
            ports = try values.decodeIfPresent([String].self, forKey: .ports) ?? []
            trafficClass = try values.decodeIfPresent(String.self, forKey: .trafficClass)
        }

        /// Texts that name no ports are passed over.
        public var portRanges: [ClosedRange<UInt16>] { ports.compactMap(PortRanges.range) }
    }

    public struct Marking: Codable, Hashable, Sendable {
        /// `off`, `class` or `copy`.
        public var outer: String?
        /// Whether classes are written into inner headers.
        public var inner: Bool?
        /// DSCPs by class, such as `AF21` or `18`, in the place of the standard ones.
        public var classes: [String: String]?

        public init(
            outer: String? = nil, inner: Bool? = nil, classes: [String: String]? = nil
        ) {
            self.outer = outer
            self.inner = inner
            self.classes = classes
        }
    }

    /// What the tenant may send before its traffic is `background`.
    public struct Budget: Codable, Hashable, Sendable {
        public var bytes: Int64?
        /// Output tokens where usage records may be read, otherwise chunks.
        public var tokens: Int64?
        /// A day where absent.
        public var perSeconds: Int?

        public init(bytes: Int64? = nil, tokens: Int64? = nil, perSeconds: Int? = nil) {
            self.bytes = bytes
            self.tokens = tokens
            self.perSeconds = perSeconds
        }
    }

    /// The line of a node. It sends at its own uplink's rate, and gateways send to it at the rate
    /// of its downlink.
    public struct NodeLink: Codable, Hashable, Sendable {
        /// In bits per second.
        public var uplinkRate: Int64?
        public var downlinkRate: Int64?
        /// What the line adds to each outer IP packet; 14 where absent.
        public var overheadBytes: Int?
        /// The uplink's rate changes, from here to ``uplinkRate``, and is followed; always the same
        /// where absent.
        public var uplinkMinimumRate: Int64?

        public init(
            uplinkRate: Int64? = nil, downlinkRate: Int64? = nil, overheadBytes: Int? = nil,
            uplinkMinimumRate: Int64? = nil
        ) {
            self.uplinkRate = uplinkRate
            self.downlinkRate = downlinkRate
            self.overheadBytes = overheadBytes
            self.uplinkMinimumRate = uplinkMinimumRate
        }
    }

    /// The line of this side.
    public struct Link: Codable, Hashable, Sendable {
        /// In bits per second.
        public var rate: Int64
        public var overheadBytes: Int?
        /// As ``NodeLink/uplinkMinimumRate``.
        public var minimumRate: Int64?

        public init(rate: Int64, overheadBytes: Int? = nil, minimumRate: Int64? = nil) {
            self.rate = rate
            self.overheadBytes = overheadBytes
            self.minimumRate = minimumRate
        }
    }

    /// What applies to one peer of this side.
    public struct Peer: Codable, Hashable, Sendable {
        /// Of the line to the peer, in bits per second.
        public var rate: Int64?
        public var overheadBytes: Int?
        /// As ``Marking/outer``.
        public var outer: String?
        /// A class of ``ClassCeiling``.
        public var ceiling: String?

        public init(
            rate: Int64? = nil, overheadBytes: Int? = nil, outer: String? = nil,
            ceiling: String? = nil
        ) {
            self.rate = rate
            self.overheadBytes = overheadBytes
            self.outer = outer
            self.ceiling = ceiling
        }
    }

    public var services: [Service] = []
    /// Relative shares of classes, 1 to 1,000.
    public var weights: [String: Int] = [:]
    /// What `token` and `activation` may take of a busy link before the others, in percent.
    public var priorityPercent: Int?
    public var activationDeadlineMs: Int?
    /// Of the tenant at gateways, in bits per second; `nil` for none.
    public var minimumRate: Int64?
    public var maximumRate: Int64?
    /// Classes by DSCP, such as `AF21` or `18`.
    public var believe: [String: String]?
    public var marking: Marking?
    public var budget: Budget?
    /// `false`: every flow is alike.
    public var classify: Bool?
    /// Whether usage records in clear answers may be read.
    public var readUsage: Bool?
    /// By the name of a node.
    public var links: [String: NodeLink]?
    /// In a local file only.
    public var link: Link?
    /// In a local file only: by public key, in base64.
    public var peers: [String: Peer]?

    public init() {}

    public init(
        services: [Service], weights: [String: Int], minimumRate: Int64?, maximumRate: Int64?
    ) {
        self.services = services
        self.weights = weights
        self.minimumRate = minimumRate
        self.maximumRate = maximumRate
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        services = try values.decodeIfPresent([Service].self, forKey: .services) ?? []
        weights = try values.decodeIfPresent([String: Int].self, forKey: .weights) ?? [:]
        priorityPercent = try values.decodeIfPresent(Int.self, forKey: .priorityPercent)
        activationDeadlineMs = try values.decodeIfPresent(Int.self, forKey: .activationDeadlineMs)
        minimumRate = try values.decodeIfPresent(Int64.self, forKey: .minimumRate)
        maximumRate = try values.decodeIfPresent(Int64.self, forKey: .maximumRate)
        believe = try values.decodeIfPresent([String: String].self, forKey: .believe)
        marking = try values.decodeIfPresent(Marking.self, forKey: .marking)
        budget = try values.decodeIfPresent(Budget.self, forKey: .budget)
        classify = try values.decodeIfPresent(Bool.self, forKey: .classify)
        readUsage = try values.decodeIfPresent(Bool.self, forKey: .readUsage)
        links = try values.decodeIfPresent([String: NodeLink].self, forKey: .links)
        link = try values.decodeIfPresent(Link.self, forKey: .link)
        peers = try values.decodeIfPresent([String: Peer].self, forKey: .peers)
    }
}
