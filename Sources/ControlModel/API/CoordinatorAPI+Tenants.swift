extension CoordinatorAPI {
    /// `POST /v1/tenants`.
    public struct TenantRequest: Codable, Hashable, Sendable {
        public var name: String
        /// Networks that addresses come from: at most one of each family is needed, at most 16
        /// are allowed. Tenants may overlap each other; the pools of one may not.
        public var pools: [String]

        public init(name: String, pools: [String]) {
            self.name = name
            self.pools = pools
        }
    }

    public struct Tenant: Codable, Hashable, Sendable {
        public var name: String
        public var pools: [Pool]
        public var nodeCount: Int
        public var createdAt: Int64
        /// Changes with every edit of the tenant itself; the `ETag`.
        public var revision: Int64

        public init(
            name: String, pools: [Pool], nodeCount: Int, createdAt: Int64, revision: Int64
        ) {
            self.name = name
            self.pools = pools
            self.nodeCount = nodeCount
            self.createdAt = createdAt
            self.revision = revision
        }
    }

    public struct Pool: Codable, Hashable, Sendable {
        public var prefix: String
        public var allocated: Int64
        /// How many nodes it can hold; capped at 2^53 - 1 for IPv6.
        public var capacity: Int64

        public init(prefix: String, allocated: Int64, capacity: Int64) {
            self.prefix = prefix
            self.allocated = allocated
            self.capacity = capacity
        }
    }

    /// `POST /v1/tenants/{tenant}/pools`; `DELETE .../pools/{address}/{length}` takes one away.
    public struct PoolRequest: Codable, Hashable, Sendable {
        public var prefix: String

        public init(prefix: String) { self.prefix = prefix }
    }

    /// `POST /v1/tenants/{tenant}/reservations`: one address of each family, for a token or a
    /// grant that is about to be signed.
    public struct ReservationRequest: Codable, Hashable, Sendable {
        /// Wanted addresses, each a host's prefix (`10.64.0.9/32`); empty: the coordinator chooses.
        public var addresses: [String]

        public init(addresses: [String] = []) { self.addresses = addresses }
    }

    public struct Reservation: Codable, Hashable, Sendable {
        public var id: String
        /// Host prefixes, such as `10.64.0.2/32`.
        public var addresses: [String]
        /// Unless used before this second, the addresses return to their pools.
        public var expiresAt: Int64

        public init(id: String, addresses: [String], expiresAt: Int64) {
            self.id = id
            self.addresses = addresses
            self.expiresAt = expiresAt
        }
    }

    /// `POST /v1/tenants/{tenant}/tokens`: a signed enrolment token, without its private half.
    public struct EnrolmentTokenRequest: Codable, Hashable, Sendable {
        public var reservation: String
        /// Admin key and token (``StatementChain/text``); its addresses are the reservation's.
        public var chain: String
        public var note: String?

        public init(reservation: String, chain: String, note: String? = nil) {
            self.reservation = reservation
            self.chain = chain
            self.note = note
        }
    }

    public struct EnrolmentTokenRecord: Codable, Hashable, Sendable {
        public enum State: String, Codable, CaseIterable, Hashable, Sendable {
            case unused, used, expired, revoked
        }

        public var id: String
        public var tenant: String
        public var role: String
        public var addresses: [String]
        public var routes: [String]
        public var groups: [String]
        public var needsApproval: Bool
        public var state: State
        public var note: String?
        public var createdAt: Int64
        public var expiresAt: Int64
        /// The node that used it.
        public var node: String?

        public init(
            id: String, tenant: String, role: String, addresses: [String], routes: [String],
            groups: [String], needsApproval: Bool, state: State, note: String?, createdAt: Int64,
            expiresAt: Int64, node: String?
        ) {
            self.id = id
            self.tenant = tenant
            self.role = role
            self.addresses = addresses
            self.routes = routes
            self.groups = groups
            self.needsApproval = needsApproval
            self.state = state
            self.note = note
            self.createdAt = createdAt
            self.expiresAt = expiresAt
            self.node = node
        }
    }

    /// `POST /v1/tenants/{tenant}/groups`.
    public struct GroupRequest: Codable, Hashable, Sendable {
        public var name: String
        public var description: String?

        public init(name: String, description: String? = nil) {
            self.name = name
            self.description = description
        }
    }

    /// A group exists so that policies can name it. Who is in it is said by signed grants.
    public struct Group: Codable, Hashable, Sendable {
        public var name: String
        public var description: String?
        public var nodeCount: Int

        public init(name: String, description: String?, nodeCount: Int) {
            self.name = name
            self.description = description
            self.nodeCount = nodeCount
        }
    }

    /// `GET .../revocations`; `PUT` takes a ``SignedChain`` and needs `If-Match`.
    public struct RevocationsRecord: Codable, Hashable, Sendable {
        /// ``StatementChain/text``; `nil` before the first.
        public var chain: String?
        /// Of the list; 0 before the first. The `ETag` is this number.
        public var number: Int64

        public init(chain: String?, number: Int64) {
            self.chain = chain
            self.number = number
        }
    }

    /// `GET /v1/tenants`, and every other list: at most 1,000 entries, ordered by name or key.
    public struct Page<Item: Codable & Hashable & Sendable>: Codable, Hashable, Sendable {
        public var items: [Item]
        /// Give this as `after` to get what follows; `nil` at the end.
        public var next: String?

        public init(items: [Item], next: String? = nil) {
            self.items = items
            self.next = next
        }
    }
}
