import PacketFormats

/// What the tables hold.
extension TenantQueues {
    struct Frame {
        var slot: Int32 = 0
        var byteCount: Int32 = 0
        var wireByteCount: Int32 = 0
        /// The next frame of the flow, or the next free record; -1 at the end.
        var next: Int32 = -1
        var enqueuedAt: UInt64 = 0
    }

    /// A frame's place among those of its class.
    struct DueLink {
        var next: Int32 = -1
        var previous: Int32 = -1
        var flow: Int32 = -1
    }

    struct Flow {
        var first: Int32 = -1
        var last: Int32 = -1
        /// The flow served after this one, or the next free record; -1 at the end.
        var next: Int32 = -1
        var previous: Int32 = -1
        /// -1: free.
        var tenant: Int32 = -1
        var path: Int32 = -1
        /// Bytes the flow may still send in this round; after a large frame it owes some.
        var deficit: Int32 = 0
        var count: Int32 = 0
        var trafficClass = TrafficClass.token
        /// The raw value of the class.
        var level: UInt8 = 0
        var place = Place.unlisted
        /// It had no frames and came back soon, since the hand passed it.
        var isRecent = false
        /// When its latest frame came, in ``TenantQueues/ticks(_:)``.
        var latest: UInt32 = 0
        var byteCount = 0
        var sojourn = SojournState()

        enum Place: UInt8 {
            /// It has no frames, and is remembered.
            case unlisted
            case returning, new, old
            /// Its frames are, each by itself: see ``ClassQueue/due``.
            case due
        }

        /// - Returns: The frame before it; -1 if there is none.
        @inline(__always)
        mutating func append(_ frame: Int32, _ size: Int) -> Int32 {
            let previous = last
            if previous < 0 { first = frame }
            last = frame
            count &+= 1
            byteCount &+= size
            return previous
        }

        @inline(__always)
        mutating func removeFirst(_ size: Int, next: Int32) {
            first = next
            if next < 0 { last = -1 }
            count &-= 1
            byteCount &-= size
        }
    }

    /// Records in an order, linked by their own fields.
    struct LinkedList {
        var first: Int32 = -1
        var last: Int32 = -1
        @inline(__always)
        var isEmpty: Bool { first < 0 }
    }

    /// One class of one path.
    struct ClassQueue {
        var count = 0
        var byteCount = 0
        /// Flows that begin to send again soon, other ones that begin, and all others.
        var returningFlows = LinkedList()
        var newFlows = LinkedList()
        var oldFlows = LinkedList()
        /// What waits of `newFlows`.
        var newBytes = 0
        /// What the first two were served before `oldFlows`, and `returningFlows` before
        /// `newFlows`, while those waited: see ``TenantQueues/aheadQuanta``.
        var ahead: Int32 = 0
        var returningAhead: Int32 = 0
        /// Frames of `activation`, the one first that has been in the class for longest.
        var due = LinkedList()
        /// Start tag among the classes that share by weight.
        var tag: UInt64 = 0

        @inline(__always)
        mutating func add(_ frameCount: Int, _ bytes: Int) {
            count &+= frameCount
            byteCount &+= bytes
        }
    }

    struct Path {
        var tenant: Int32 = -1
        /// -1: the tenant's common path.
        var peer: Int32 = -1
        /// A bit for each class that has frames.
        var waiting: UInt8 = 0
        /// In its tenant's rings; neither without frames nor while it is parked.
        var isActive = false
        /// In the ring of those with urgent frames, too.
        var isUrgent = false
        var isShaped = false
        /// The path or the link has a known rate.
        var watchesDelay = false
        /// Bytes that a flow, or the path, may send before another one's turn.
        var quantumBytes: Int32 = 1
        /// What the path may still send in this round of its tenant's.
        var deficit = 0
        var count = 0
        var byteCount = 0
        var bytesMax = Int.max
        var wireBytesSent: UInt64 = 0
        var shaper = LinkShaper(LinkShape(bitsPerSecond: LinkShape.bitsPerSecondMax))
        var law = SojournLaw(LinkShape(bitsPerSecond: LinkShape.bitsPerSecondMax))
        /// How long before its deadline a frame of `activation` becomes urgent.
        var leadNanoseconds: UInt64 = 0
        var credits = ClassCredits(priorityPercent: 0, quantumBytes: 1)
        /// The latest start tag that was served by weight.
        var clock: UInt64 = 0

        @inline(__always)
        mutating func add(_ frameCount: Int, _ bytes: Int) {
            count &+= frameCount
            byteCount &+= bytes
        }
    }

    struct RingLink {
        var next: Int32 = -1
        var previous: Int32 = -1
    }

    struct Tenant {
        var isPresent = false
        var isCapped = false
        var isPromised = false
        var weight: UInt64 = 1
        /// Kilobits per second.
        var promise: UInt64 = 1
        var count = 0
        var byteCount = 0
        /// See ``TenantQueues/dropExcess(of:path:)``.
        var bytesMax = Int.max
        /// The path of all peers without a line of their own.
        var commonPath = 0
        /// Paths beside the common one.
        var pathCount = 0
        /// Active paths, and those with urgent frames among them.
        var allPaths = LinkedList()
        var urgentPaths = LinkedList()
        /// How far urgent paths may go before others: as ``ClassCredits/priority``.
        var pathCredit = 0

        @inline(__always)
        mutating func add(_ frameCount: Int, _ bytes: Int) {
            count &+= frameCount
            byteCount &+= bytes
        }
    }

    /// Who is being served, and what is not charged yet.
    struct Turn {
        var tenant = -1
        var isPromised = false
        var bytes = 0
    }

    static var classCount: Int { 6 }
    static var control: Int { 0 }
    static var activation: Int { 2 }
    static var background: Int { 5 }
}
