public import PacketFormats

/// Who may open connections to whom in one tenant: what an ``AccessFilter`` is compiled from.
public struct AccessRules: Hashable, Sendable {
    /// A network and the groups of the node that it belongs to.
    public struct Member: Hashable, Sendable {
        public var prefix: IPPrefix
        public var groups: Set<String>

        public init(prefix: IPPrefix, groups: Set<String>) {
            self.prefix = prefix
            self.groups = groups
        }
    }

    /// Networks that rules call by one name.
    public struct Service: Hashable, Sendable {
        public var name: String
        public var destinations: [IPPrefix]

        public init(name: String, destinations: [IPPrefix]) {
            self.name = name
            self.destinations = destinations
        }
    }

    public enum Transport: Hashable, Sendable {
        case tcp, udp, icmp
        /// A protocol without ports that rules for every transport alone speak of.
        case other
    }

    /// Lets connections through.
    public struct Rule: Hashable, Sendable {
        public var name: String
        /// Groups, or ``AccessRules/anything``.
        public var from: [String]
        /// Groups and services, or ``AccessRules/anything``.
        public var to: [String]
        /// `nil` for every transport.
        public var transport: Transport?
        /// Of the destination; empty for every port, and where there are none.
        public var ports: [ClosedRange<UInt16>]

        public init(
            name: String, from: [String], to: [String], transport: Transport?,
            ports: [ClosedRange<UInt16>]
        ) {
            self.name = name
            self.from = from
            self.to = to
            self.transport = transport
            self.ports = ports
        }
    }

    /// Of nested networks the innermost tells the groups; of equal ones what all have in common.
    public var members: [Member]
    public var services: [Service]
    public var rules: [Rule]

    /// In a rule: every network of a member and, as a destination, of a service.
    public static let anything = "*"

    public init(members: [Member], services: [Service], rules: [Rule]) {
        self.members = members
        self.services = services
        self.rules = rules
    }
}
