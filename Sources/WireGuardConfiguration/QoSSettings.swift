public import Cryptography
public import PacketFormats

/// How one tunnel tells its traffic apart, orders it, and marks it.
///
/// The one form that the data plane takes, whoever says it: a coordinator's policy and a local file
/// are both made into this. A set of settings replaces the one before as a whole.
public struct QoSSettings: Sendable, Hashable {
    /// A line whose rate is known.
    public struct Link: Sendable, Hashable {
        /// Of the line, in bits per second; ``shapedShare`` of it is used.
        public var bitsPerSecond: Int64
        /// What the line adds to each outer IP packet, in bytes: 14 for Ethernet.
        public var overheadBytes: Int
        /// The line's rate changes, from here to ``bitsPerSecond``, and is followed as peers
        /// measure it; `nil`: it is always the same. Of this side's line only.
        public var minimumBitsPerSecond: Int64?

        public init(
            bitsPerSecond: Int64, overheadBytes: Int = 14, minimumBitsPerSecond: Int64? = nil
        ) {
            self.bitsPerSecond = bitsPerSecond
            self.overheadBytes = overheadBytes
            self.minimumBitsPerSecond = minimumBitsPerSecond
        }

        /// The queue stays here, and out of the line's own buffer.
        public static var shapedShare: Double { 0.95 }
    }

    /// Traffic to, or from, a place belongs to a class whatever its packets look like.
    public struct Service: Sendable, Hashable {
        public enum Transport: String, CaseIterable, Sendable, Hashable {
            case tcp, udp, any = "*"
        }

        public var name: String
        public var destination: IPPrefix
        public var transport: Transport
        /// Empty: all.
        public var ports: [ClosedRange<UInt16>]
        /// `nil`: named only; what the packets show decides.
        public var trafficClass: TrafficClass?

        public init(
            name: String, destination: IPPrefix, transport: Transport,
            ports: [ClosedRange<UInt16>] = [], trafficClass: TrafficClass? = nil
        ) {
            self.name = name
            self.destination = destination
            self.transport = transport
            self.ports = ports
            self.trafficClass = trafficClass
        }
    }

    /// What a tenant may send before all of its traffic is `background`, until the time is over.
    public struct Budget: Sendable, Hashable {
        /// Inner bytes, both ways together; `nil` without a limit.
        public var bytes: Int64?
        /// Output tokens as usage records say, where those may be read, otherwise chunks.
        public var tokens: Int64?
        /// After so many seconds all of it is there again, steadily.
        public var perSeconds: Int

        public init(bytes: Int64? = nil, tokens: Int64? = nil, perSeconds: Int = 86_400) {
            self.bytes = bytes
            self.tokens = tokens
            self.perSeconds = perSeconds
        }
    }

    /// How the outer header's DSCP is filled.
    public enum OuterMarking: String, CaseIterable, Sendable, Hashable {
        case off
        /// By the packet's class.
        case byClass = "class"
        /// From the inner header (RFC 2983, the uniform model).
        case copy
    }

    /// What applies to one peer.
    public struct Peer: Sendable, Hashable {
        /// The line to the peer: a branch's downlink.
        public var link: Link?
        /// The best class that traffic to and from the peer may have.
        public var ceiling: TrafficClass?
        /// `nil`: as for the others.
        public var outerMarking: OuterMarking?

        public init(
            link: Link? = nil, ceiling: TrafficClass? = nil, outerMarking: OuterMarking? = nil
        ) {
            self.link = link
            self.ceiling = ceiling
            self.outerMarking = outerMarking
        }
    }

    /// `false`: every flow is `token`, and only fair queueing between flows remains.
    public var isClassifying = true
    /// Whether usage records in clear answers may be read, for the number of tokens in them.
    public var readsUsage = false
    /// Of this side, for all peers together.
    public var link: Link?
    /// The first that matches counts.
    public var services: [Service] = []
    /// Inner DSCPs that are believed, within a peer's ceiling.
    public var believedMarks: [DSCP: TrafficClass] = [:]
    /// Shares, 1 to 1,000, of `prompt`, `bulk` and of what is above its cap. What is absent has
    /// the standard weight.
    public var weights: [TrafficClass: Int] = [:]
    /// Percent of a busy link that `token` and `activation` together may take before the others.
    public var priorityPercent = 80
    /// How long a packet of `activation` may wait, in microseconds: from 1,000.
    public var activationDeadlineMicroseconds = 10_000
    public var outerMarking = OuterMarking.off
    /// In the place of the standard marks.
    public var classMarks: [TrafficClass: DSCP] = [:]
    /// Whether the class is written into inner headers.
    public var marksInner = false
    public var budget: Budget?
    /// The best class that this side's own traffic may have.
    public var ceiling: TrafficClass?
    /// The best class that any peer's traffic may have; a peer's own ceiling only lowers it.
    public var peersCeiling: TrafficClass?
    public var peers: [PublicKey: Peer] = [:]

    public init() {}
}
