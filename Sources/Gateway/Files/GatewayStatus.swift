/// What a gateway tells of itself, as `status.json` in its folder. It holds no secrets.
public struct GatewayStatus: Codable, Hashable, Sendable {
    public enum State: String, Codable, Sendable {
        /// Served.
        case up
        /// Being set up, or joined and not let in yet.
        case waiting
        /// Not served, and tried again.
        case faulty
    }

    public struct Fault: Codable, Hashable, Sendable {
        public var kind: TenantFault.Kind
        public var detail: String
        /// Seconds since 1970.
        public var at: Int64

        public init(_ fault: TenantFault, at: Int64) {
            kind = fault.kind
            detail = fault.detail
            self.at = at
        }
    }

    public struct Tenant: Codable, Hashable, Sendable {
        public var tenant: String
        /// `nil` where the file cannot be read.
        public var interface: String?
        /// In words.
        public var place: String?
        public var state: State
        /// Seconds since 1970.
        public var since: Int64
        /// Why it is not served; `nil` while it is.
        public var fault: Fault?
        /// The last one, also after it has passed.
        public var lastFault: Fault?
        /// When it is tried again, in seconds since 1970.
        public var retryAt: Int64?
        /// How often it has been taken up anew since the gateway began.
        public var restarts: Int
        /// What is in force of what is not quite as wanted, each a sentence.
        public var notes: [String]
        /// Names the contents of the file that this is about.
        public var definition: String
        /// A change of its files is being taken up; `nil` for no.
        public var isChanging: Bool?
        /// The network namespace that the gateway made for it, and removes with it.
        public var ownNamespace: String?
    }

    public var version = 1
    public var processIdentifier: Int32
    public var startedAt: Int64
    public var updatedAt: Int64
    public var settings: GatewaySettings
    /// Why the UDP port is not open, so that nothing passes; `nil` where it is.
    public var socketFault: String?
    /// How often the folder was read.
    public var readings: Int
    /// What is wrong with `gateway.json`, which then counts as it was, and such things.
    public var notes: [String]
    /// By name.
    public var tenants: [Tenant]

    public subscript(tenant: String) -> Tenant? { tenants.first { $0.tenant == tenant } }
}
