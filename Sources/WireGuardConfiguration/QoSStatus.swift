public import Cryptography
public import PacketFormats

/// What a tunnel's scheduler and flow table say of themselves. Counters begin with the device.
public struct QoSStatus: Sendable, Equatable {
    /// One class of traffic that leaves.
    public struct ClassStatus: Sendable, Equatable {
        public var trafficClass: TrafficClass
        /// Inner packets and bytes that left.
        public var packets: UInt64 = 0
        public var bytes: UInt64 = 0
        /// Packets and bytes that wait now.
        public var queuedPackets: UInt64 = 0
        public var queuedBytes: UInt64 = 0
        /// How long packets waited here: how many at most each of ``sojournBoundsMicroseconds``,
        /// and above the bound before; at the end, how many above all.
        public var sojournCounts: [UInt64] = []
        /// The longest since the last time somebody asked, in nanoseconds.
        public var sojournMaxNanoseconds: UInt64 = 0
        /// Packets marked, and dropped early, so that their senders slow down.
        public var marks: UInt64 = 0
        public var earlyDrops: UInt64 = 0
        /// Packets that found no room.
        public var overflowDrops: UInt64 = 0
        /// Packets whose outer, and inner, header got a DSCP.
        public var outerMarked: UInt64 = 0
        public var innerMarked: UInt64 = 0

        public init(trafficClass: TrafficClass) { self.trafficClass = trafficClass }
    }

    /// A line of its own.
    public struct PathStatus: Sendable, Equatable {
        public var peer: PublicKey
        public var link: QoSSettings.Link
        public var queuedPackets: UInt64 = 0
        public var queuedBytes: UInt64 = 0
        /// Bytes on the line, overhead included.
        public var wireBytes: UInt64 = 0

        public init(peer: PublicKey, link: QoSSettings.Link) {
            self.peer = peer
            self.link = link
        }
    }

    /// How the rate of a line is followed.
    public struct Following: Sendable, Equatable {
        /// Why the rate is another one than before.
        public enum Cause: String, CaseIterable, Sendable {
            /// The line was used, and nothing was late.
            case raised
            /// Packets were late.
            case late
            /// No probe was answered although the line was used.
            case silence
            /// Back towards the whole rate, as little passes or nobody measures.
            case idle
        }

        /// What the line is taken to have now.
        public var bitsPerSecond: Int64
        /// Of the latest change; `nil` before the first.
        public var cause: Cause?
        /// How late packets were then.
        public var delayNanoseconds: UInt64 = 0
        /// Since then.
        public var ageNanoseconds: UInt64 = 0

        public init(bitsPerSecond: Int64) { self.bitsPerSecond = bitsPerSecond }
    }

    /// What was seen of requests and their answers, by class, service and peer.
    public struct Measure: Sendable, Equatable {
        public var trafficClass: TrafficClass
        /// `nil`: of no named service.
        public var service: String?
        /// `nil`: of all that found no room of their own.
        public var peer: PublicKey?
        public var requests: UInt64 = 0
        public var streams: UInt64 = 0
        public var chunks: UInt64 = 0
        public var streamBytes: UInt64 = 0
        /// Gaps of a stream longer than a second.
        public var stalls: UInt64 = 0
        public var retransmissions: UInt64 = 0
        /// From usage records; 0 where none may be read.
        public var tokens: UInt64 = 0
        /// Seconds from the last byte of a request to the first of its answer: a count for each of
        /// ``timeToFirstChunkBounds``, and one above; and their sum.
        public var firstChunkCounts: [UInt64] = []
        public var firstChunkSumSeconds = 0.0
        /// Seconds between chunks, by ``timePerOutputChunkBounds``.
        public var interChunkCounts: [UInt64] = []
        public var interChunkSumSeconds = 0.0

        public init(trafficClass: TrafficClass) { self.trafficClass = trafficClass }
    }

    public var isClassifying = true
    /// The line of this side.
    public var link: QoSSettings.Link?
    /// `nil` where its rate is always the same.
    public var following: Following?
    /// Whether other tunnels leave by that line, too.
    public var isLinkShared = false
    /// Bytes on that line, overhead included; 0 where it is shared, as nobody's own.
    public var linkWireBytes: UInt64 = 0
    public var flowCount = 0
    public var flowCapacity = 0
    /// Flows forgotten to make room.
    public var evictedFlows: UInt64 = 0
    /// Packets in `background` because a budget was used up.
    public var overBudgetPackets: UInt64 = 0
    public var isOverBudget = false
    /// In the order of service; all of them.
    public var classes: [ClassStatus] = []
    public var paths: [PathStatus] = []
    public var measures: [Measure] = []

    public init() {}

    /// Upper bounds of ``ClassStatus/sojournCounts``.
    public static var sojournBoundsMicroseconds: [Int] {
        [50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000]
    }

    /// Seconds; the boundaries of OpenTelemetry's gen_ai.client.operation.time_to_first_chunk.
    public static var timeToFirstChunkBounds: [Double] {
        [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
    }

    /// Seconds; the boundaries of OpenTelemetry's gen_ai.client.operation.time_per_output_chunk.
    public static var timePerOutputChunkBounds: [Double] {
        [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]
    }
}
