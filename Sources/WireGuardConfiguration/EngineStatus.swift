public import Cryptography

/// What a `status=1` request answers: the state of a device that WireGuard's own protocol has no
/// words for.
///
/// The answer has lines of `key=value`; readers pass over keys that they do not know.
public struct EngineStatus: Sendable, Equatable {
    /// Packets dropped for one reason since the device was made.
    public struct Drops: Sendable, Hashable {
        /// Lower-case words joined by underscores.
        public var reason: String
        public var count: UInt64

        public init(reason: String, count: UInt64) {
            self.reason = reason
            self.count = count
        }
    }

    /// What is known of one peer beyond its ``PeerStatus``.
    public struct PeerHealth: Sendable, Equatable {
        public var publicKey: PublicKey
        /// Transport packets that authenticated, in packets.
        public var receivedPackets: UInt64
        /// Counters that were passed over and did not arrive within the replay window, in packets.
        public var lostPackets: UInt64

        public init(publicKey: PublicKey, receivedPackets: UInt64 = 0, lostPackets: UInt64 = 0) {
            self.publicKey = publicKey
            self.receivedPackets = receivedPackets
            self.lostPackets = lostPackets
        }

        /// Share of the peer's packets that did not arrive, 0 to 1; `nil` before the first packet.
        public var lossShare: Double? {
            let total = Double(receivedPackets) + Double(lostPackets)
            return total > 0 ? Double(lostPackets) / total : nil
        }
    }

    /// What access rules do, where there are some.
    public struct Access: Sendable, Hashable {
        /// Packets that a rule did not let through.
        public struct Denials: Sendable, Hashable {
            /// The rule's name, or that there is none.
            public var rule: String
            public var count: UInt64

            public init(rule: String, count: UInt64) {
                self.rule = rule
                self.count = count
            }
        }

        /// Connections that are known now, and how many can be.
        public var connections: Int
        public var connectionsMax: Int
        /// Connections that found no room.
        public var refusedConnections: UInt64
        /// Only rules that have denied something.
        public var denials: [Denials]

        public init(
            connections: Int = 0, connectionsMax: Int = 0, refusedConnections: UInt64 = 0,
            denials: [Denials] = []
        ) {
            self.connections = connections
            self.connectionsMax = connectionsMax
            self.refusedConnections = refusedConnections
            self.denials = denials
        }
    }

    public var version: String
    /// The interface's current MTU in bytes.
    public var mtu: Int
    /// Why no UDP port is open although the interface is up; `nil` where nothing is wrong.
    public var socketFault: String?
    public var workerCount: Int
    /// Which implementation encrypts packets.
    public var cipher: String
    /// Offloads in use, each in a word.
    public var offloads: [String]
    /// What the kernel lacks, each as a sentence.
    public var fallbacks: [String]
    /// Time since the device was made, in seconds.
    public var uptimeSeconds: UInt64
    public var drops: [Drops]
    /// `nil` where nothing is enforced.
    public var access: Access?
    public var peers: [PeerHealth]

    public init(
        version: String = "", mtu: Int = 0, socketFault: String? = nil, workerCount: Int = 0,
        cipher: String = "",
        offloads: [String] = [], fallbacks: [String] = [], uptimeSeconds: UInt64 = 0,
        drops: [Drops] = [], access: Access? = nil, peers: [PeerHealth] = []
    ) {
        self.version = version
        self.mtu = mtu
        self.socketFault = socketFault
        self.workerCount = workerCount
        self.cipher = cipher
        self.offloads = offloads
        self.fallbacks = fallbacks
        self.uptimeSeconds = uptimeSeconds
        self.drops = drops
        self.access = access
        self.peers = peers
    }
}
