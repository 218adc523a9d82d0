public import Telemetry

/// What a worker counts besides the protocol's drop reasons.
public enum EngineCounter: Int, CounterKey {
    // Drops between the TUN device and the socket.
    case invalidFrame
    case queueOverflow
    case sendFailed
    case interfaceDown
    // Drops between the socket and the TUN device.
    case datagramTruncated
    /// So that the sender slows down; also of frames on their way to the socket.
    case earlyDrop
    case tunWriteFailed
    case inboxFull
    /// More than the tenant's limits allow: packets that arrive, and handshakes.
    case rateLimited
    case handshakeLimited
    /// What access rules do not allow; the filter counts by rule.
    case accessDenied
    /// Longer than what the path to the peer carries, and not to be fragmented.
    case packetTooBig
    /// Authentic frames of the profile `branchline` of a kind that is not known here.
    case controlFrameUnknown
    // Not drops.
    case earlyMark
    /// Packets in `background` because a budget was used up.
    case overBudget
    case icmpUnreachable
    /// ICMP errors that name the path's MTU.
    case icmpTooBig
    case tunReads
    case packetsRead
    case tunWrites
    case packetsWritten
    case socketSends
    case datagramsSent
    case socketReceives
    case datagramsReceived

    /// Whether the counter is of packets that went no further.
    public var isDrop: Bool { rawValue < EngineCounter.earlyMark.rawValue }

    public var name: String {
        switch self {
        case .invalidFrame: "invalid_frame"
        case .queueOverflow: "queue_overflow"
        case .sendFailed: "send_failed"
        case .interfaceDown: "interface_down"
        case .datagramTruncated: "datagram_truncated"
        case .earlyDrop: "early_drop"
        case .tunWriteFailed: "tun_write_failed"
        case .inboxFull: "inbox_full"
        case .rateLimited: "rate_limited"
        case .handshakeLimited: "handshake_limited"
        case .accessDenied: "access_denied"
        case .packetTooBig: "packet_too_big"
        case .controlFrameUnknown: "control_frame_unknown"
        case .earlyMark: "early_mark"
        case .overBudget: "over_budget"
        case .icmpUnreachable: "icmp_unreachable"
        case .icmpTooBig: "icmp_too_big"
        case .tunReads: "tun_reads"
        case .packetsRead: "packets_read"
        case .tunWrites: "tun_writes"
        case .packetsWritten: "packets_written"
        case .socketSends: "socket_sends"
        case .datagramsSent: "datagrams_sent"
        case .socketReceives: "socket_receives"
        case .datagramsReceived: "datagrams_received"
        }
    }
}
