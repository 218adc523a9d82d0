public import Cryptography
public import PacketFormats

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
        /// What the peer is configured for.
        public var profile: TunnelProfile
        /// The session that is sent with; `nil` where there is none that may be used.
        public var session: KeyUse?
        /// What the peer was heard to speak instead, and nothing that fits since.
        public var mismatch: ProfileMismatch?
        /// What probes say of the way to it; `nil` where nothing is probed.
        public var path: Path?

        public init(
            publicKey: PublicKey, receivedPackets: UInt64 = 0, lostPackets: UInt64 = 0,
            profile: TunnelProfile = .wireguard, session: KeyUse? = nil,
            mismatch: ProfileMismatch? = nil, path: Path? = nil
        ) {
            self.publicKey = publicKey
            self.receivedPackets = receivedPackets
            self.lostPackets = lostPackets
            self.profile = profile
            self.session = session
            self.mismatch = mismatch
            self.path = path
        }

        /// Share of the peer's packets that did not arrive, 0 to 1; `nil` before the first packet.
        public var lossShare: Double? {
            let total = Double(receivedPackets) + Double(lostPackets)
            return total > 0 ? Double(lostPackets) / total : nil
        }
    }

    /// How far the keys of one session are used up.
    public struct KeyUse: Sendable, Hashable {
        /// Since the handshake, in seconds.
        public var ageSeconds: UInt64
        public var sentMessages: UInt64
        public var receivedMessages: UInt64
        /// Sent messages at which new keys are asked for, whatever the age.
        public var messagesMax: UInt64
        /// When this side asks for new keys if it has something to send, in seconds from now;
        /// `nil` where that is up to the peer.
        public var rekeySeconds: UInt64?
        /// When the keys may not be used any more, in seconds from now.
        public var endSeconds: UInt64

        public init(
            ageSeconds: UInt64, sentMessages: UInt64 = 0, receivedMessages: UInt64 = 0,
            messagesMax: UInt64 = 0, rekeySeconds: UInt64? = nil, endSeconds: UInt64 = 0
        ) {
            self.ageSeconds = ageSeconds
            self.sentMessages = sentMessages
            self.receivedMessages = receivedMessages
            self.messagesMax = messagesMax
            self.rekeySeconds = rekeySeconds
            self.endSeconds = endSeconds
        }
    }

    /// The way to a peer, by probes that it answers.
    public struct Path: Sendable, Hashable {
        /// Smoothed, and the least of the last minute or two, in microseconds; `nil` before the
        /// first answer.
        public var roundTripMicroseconds: UInt64?
        public var roundTripMinMicroseconds: UInt64?
        /// Of the way from here to the peer, in microseconds.
        public var jitterMicroseconds: UInt64?
        /// Share of messages from here that did not arrive lately, 0 to 1; `nil` while unknown.
        public var lossShare: Double?
        /// Probes sent, and how many of them were answered.
        public var probes: UInt64
        public var answers: UInt64
        /// The longest packet with its outer headers that is sent, in bytes.
        public var mtu: Int
        /// Whether such a one has arrived.
        public var isMTUConfirmed: Bool

        public init(
            roundTripMicroseconds: UInt64? = nil, roundTripMinMicroseconds: UInt64? = nil,
            jitterMicroseconds: UInt64? = nil, lossShare: Double? = nil, probes: UInt64 = 0,
            answers: UInt64 = 0, mtu: Int = 0, isMTUConfirmed: Bool = false
        ) {
            self.roundTripMicroseconds = roundTripMicroseconds
            self.roundTripMinMicroseconds = roundTripMinMicroseconds
            self.jitterMicroseconds = jitterMicroseconds
            self.lossShare = lossShare
            self.probes = probes
            self.answers = answers
            self.mtu = mtu
            self.isMTUConfirmed = isMTUConfirmed
        }
    }

    /// A peer's handshake in another profile than it is configured for here.
    public struct ProfileMismatch: Sendable, Hashable {
        /// With its cipher: the handshake was opened.
        public var spoken: TunnelProfile
        /// Since it was heard last, in seconds.
        public var ageSeconds: UInt64

        public init(spoken: TunnelProfile, ageSeconds: UInt64) {
            self.spoken = spoken
            self.ageSeconds = ageSeconds
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
