/// Which group of a tenant may reach which group or service, with tests that must hold before it
/// takes effect.
public struct AccessPolicy: Codable, Hashable, Sendable {
    /// Lets connections through; what no rule lets through is denied. Replies need no rule.
    public struct Rule: Codable, Hashable, Sendable {
        public var name: String
        /// Groups, or `*` for every node.
        public var from: [String]
        /// Groups and services, or `*` for every node and service.
        public var to: [String]
        /// `tcp`, `udp`, `icmp` or `*`.
        public var transport: String
        /// Such as `443` or `8000-8100`; empty for every port.
        public var ports: [String]

        public init(
            name: String, from: [String], to: [String], transport: String, ports: [String]
        ) {
            self.name = name
            self.from = from
            self.to = to
            self.transport = transport
            self.ports = ports
        }
    }

    /// Networks that rules call by one name, wherever they are: a name of its own among the groups.
    public struct Service: Codable, Hashable, Sendable {
        public var name: String
        /// Networks or addresses.
        public var destinations: [String]

        public init(name: String, destinations: [String]) {
            self.name = name
            self.destinations = destinations
        }
    }

    /// What the rules must say of one connection.
    public struct Test: Codable, Hashable, Sendable {
        public var from: String
        /// A group or a service.
        public var to: String
        public var transport: String
        public var port: UInt16?
        public var allowed: Bool

        public init(from: String, to: String, transport: String, port: UInt16?, allowed: Bool) {
            self.from = from
            self.to = to
            self.transport = transport
            self.port = port
            self.allowed = allowed
        }
    }

    public var rules: [Rule]
    public var tests: [Test]
    public var services: [Service]?

    public init(rules: [Rule], tests: [Test], services: [Service]? = nil) {
        self.rules = rules
        self.tests = tests
        self.services = services
    }
}
