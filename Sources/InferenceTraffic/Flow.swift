import PacketFormats

/// What is known of one flow. Of its payload nothing is kept.
struct Flow {
    let key: FlowKey
    let hash: UInt64
    /// The next flow of the bucket, or the next free record.
    var nextInBucket: Int32 = -1
    // The tunnel's flows by their latest packet, or those that are over by their end.
    var newer: Int32 = -1
    var older: Int32 = -1
    var peer: Int32
    var startNanoseconds: UInt64
    var packetNanoseconds: UInt64
    /// When it was last moved to the front of its tunnel's flows, or of those that are over.
    var listedNanoseconds: UInt64

    var out = Way()
    var `in` = Way()
    var answer = Answer()

    /// The rules that `service` follows from.
    var rulesNumber: UInt32 = 0
    var serviceClass: TrafficClass?
    var serviceHash: UInt64 = 0

    var scanner = ScannerHandle.none
    /// Connections whose beginning was not understood are tried again so many times.
    var scansLeft = FlowLimits.scansPerFlow
    var told = StreamProtocol.unknown
    var isGRPC = false
    /// Whether a service is asked at the end that is not here.
    var isClientLocal = true
    /// Whether that is sure: a SYN was seen, or a request.
    var isSideKnown = false
    /// What cannot be a stream of tokens whatever its packets look like: ssh.
    var isExcluded = false
    /// The best class that the latest packet that left could have.
    var ceiling = TrafficClass.control
    var isFree = false
    /// It is listed among those that are over.
    var isRetired = false

    init(key: FlowKey, hash: UInt64, peer: Int32, now: UInt64) {
        self.key = key
        self.hash = hash
        self.peer = peer
        startNanoseconds = now
        packetNanoseconds = now
        listedNanoseconds = now
        isExcluded = key.localPort == Self.sshPort || key.remotePort == Self.sshPort
    }

    @inline(__always)
    var isTCP: Bool { key.protocolNumber == IPProtocol.tcp }

    /// The side of who sends in this direction.
    @inline(__always)
    func side(_ direction: FlowDirection) -> StreamSide {
        (direction == .outbound) == isClientLocal ? .client : .server
    }

    var isOver: Bool { out.isClosed && `in`.isClosed }

    /// After what silence it is forgotten.
    var idleNanosecondsMax: UInt64 {
        if isOver { return FlowLimits.closedIdleNanoseconds }
        return isTCP ? FlowLimits.tcpIdleNanoseconds : FlowLimits.udpIdleNanoseconds
    }

    private static let sshPort: UInt16 = 22
}

/// What one packet adds to the measures.
struct FlowNotes {
    var requests: UInt32 = 0
    var streams: UInt32 = 0
    var chunks: UInt32 = 0
    var streamBytes: UInt32 = 0
    var stalls: UInt32 = 0
    var retransmissions: UInt32 = 0
    var tokens: UInt32 = 0
    /// 0: none.
    var firstChunkNanoseconds: UInt64 = 0
    var interChunkNanoseconds: UInt64 = 0

    @inline(__always)
    var isEmpty: Bool {
        requests | streams | chunks | streamBytes | stalls | retransmissions | tokens == 0
            && firstChunkNanoseconds | interChunkNanoseconds == 0
    }
}

extension Flow {
    /// Guesses who was asked, for a connection whose beginning was not seen: the lower port, as
    /// services have them.
    mutating func guessSides(_ direction: FlowDirection) {
        if key.localPort == key.remotePort {
            isClientLocal = direction == .outbound
        } else {
            isClientLocal = key.remotePort < key.localPort
        }
    }

    /// A connection begins where another one had the same ports.
    mutating func restart(now: UInt64) {
        out.restart(now: now)
        `in`.restart(now: now)
        answer = Answer()
        told = .unknown
        isGRPC = false
        scansLeft = FlowLimits.scansPerFlow
        startNanoseconds = now
    }
}
