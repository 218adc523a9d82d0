import Synchronization

/// What the data path tells the control path about one peer: atomics only.
///
/// Timers are evaluated lazily. The data path writes down since when something is owed; the control
/// path is told only when the timer that will look at the stamp is not armed yet, and re-arms it by
/// itself when it finds the debt settled and renewed. Under steady traffic that wakes it about once
/// per timer period.
///
/// Source: WireGuard paper, sections 6.2 to 6.5.
public final class PeerActivity: Sendable {
    private let sentBytes = Atomic<UInt64>(0)
    private let receivedByteTotal = Atomic<UInt64>(0)
    private let controlBytes = Atomic<UInt64>(0)
    // Monotonic nanoseconds; 0 stands for never, or for nothing owed.
    private let lastSent = Atomic<UInt64>(0)
    private let lastReceived = Atomic<UInt64>(0)
    private let unansweredSince = Atomic<UInt64>(0)
    private let keepaliveOwedSince = Atomic<UInt64>(0)
    private let flags = Atomic<UInt32>(0)
    /// Workers that hold packets back until there is a session, one bit each.
    private let holders = Atomic<UInt64>(0)

    init() {}

    /// Timers and requests that the control path already knows of.
    enum Flag {
        static let answerTimer: UInt32 = 1
        static let keepaliveTimer: UInt32 = 2
        static let handshakeRequested: UInt32 = 4
    }
}

// MARK: - Data path

extension PeerActivity {
    /// Notes authenticated packets that were sent.
    ///
    /// - Parameters:
    ///   - isData: Whether one of them carried an inner packet, and so wants an answer.
    ///   - byteCount: UDP payload bytes, all of them together.
    /// - Returns: `true` if the control thread must be told, by `WireGuardDevice.noteActivity`.
    public func packetSent(isData: Bool, byteCount: Int, now: UInt64) -> Bool {
        sentBytes.wrappingAdd(UInt64(truncatingIfNeeded: byteCount), ordering: .relaxed)
        lastSent.store(now, ordering: .relaxed)
        if keepaliveOwedSince.load(ordering: .relaxed) != 0 {
            keepaliveOwedSince.store(0, ordering: .relaxed)
        }
        guard isData, unansweredSince.load(ordering: .relaxed) == 0 else { return false }
        unansweredSince.store(max(now, 1), ordering: .sequentiallyConsistent)
        return arm(Flag.answerTimer)
    }

    /// Notes authenticated packets that were received.
    ///
    /// - Parameters:
    ///   - isData: Whether one of them carried an inner packet, and so deserves a sign of life.
    ///   - byteCount: UDP payload bytes, all of them together.
    /// - Returns: `true` if the control thread must be told, by `WireGuardDevice.noteActivity`.
    public func packetReceived(isData: Bool, byteCount: Int, now: UInt64) -> Bool {
        receivedByteTotal.wrappingAdd(UInt64(truncatingIfNeeded: byteCount), ordering: .relaxed)
        lastReceived.store(now, ordering: .relaxed)
        if unansweredSince.load(ordering: .relaxed) != 0 {
            unansweredSince.store(0, ordering: .relaxed)
        }
        guard isData, keepaliveOwedSince.load(ordering: .relaxed) == 0 else { return false }
        keepaliveOwedSince.store(max(now, 1), ordering: .sequentiallyConsistent)
        return arm(Flag.keepaliveTimer)
    }

    /// Notes that some of those bytes, either way, were of control frames.
    public func noteControl(byteCount: Int) {
        controlBytes.wrappingAdd(UInt64(truncatingIfNeeded: byteCount), ordering: .relaxed)
    }

    /// Asks for a handshake: no usable session, or one that is due for new keys.
    ///
    /// - Returns: `true` once, until the handshake that it asked for has ended: tell the control
    ///   thread, by `WireGuardDevice.noteActivity`.
    public func requestHandshake() -> Bool { arm(Flag.handshakeRequested) }

    /// Notes whether a worker holds packets back until there is a session. Call before
    /// ``requestHandshake()``.
    ///
    /// - Parameter worker: 0...63.
    public func setHolding(_ isHolding: Bool, worker: Int) {
        let bit: UInt64 = 1 << UInt64(truncatingIfNeeded: worker & 63)
        if isHolding {
            holders.bitwiseOr(bit, ordering: .sequentiallyConsistent)
        } else {
            holders.bitwiseAnd(~bit, ordering: .sequentiallyConsistent)
        }
    }

    /// The lowest number of a worker that holds packets back; `nil` if none does.
    public var holdingWorker: Int? {
        let bits = holders.load(ordering: .sequentiallyConsistent)
        return bits == 0 ? nil : bits.trailingZeroBitCount
    }

    /// UDP payload bytes of authenticated messages sent.
    public var transmittedBytes: UInt64 { sentBytes.load(ordering: .relaxed) }

    /// UDP payload bytes of authenticated messages received.
    public var receivedBytes: UInt64 { receivedByteTotal.load(ordering: .relaxed) }

    private func arm(_ flag: UInt32) -> Bool {
        guard flags.load(ordering: .sequentiallyConsistent) & flag == 0 else { return false }
        let (old, _) = flags.bitwiseOr(flag, ordering: .sequentiallyConsistent)
        return old & flag == 0
    }
}

// MARK: - Control path

extension PeerActivity {
    /// Something that the data path can owe, with the timer that looks after it.
    enum Debt {
        /// Data was sent and nothing authentic came back.
        case answer
        /// Data was received and nothing was sent back.
        case keepalive

        var flag: UInt32 {
            switch self {
            case .answer: Flag.answerTimer
            case .keepalive: Flag.keepaliveTimer
            }
        }
    }

    func isSet(_ flag: UInt32) -> Bool {
        flags.load(ordering: .sequentiallyConsistent) & flag != 0
    }

    func clear(_ flag: UInt32) {
        flags.bitwiseAnd(~flag, ordering: .sequentiallyConsistent)
    }

    /// Since when `debt` exists, 0 for not at all. A stamp from the future, which a clock that went
    /// backwards leaves, counts from `now` on.
    func owedSince(_ debt: Debt, now: UInt64) -> UInt64 {
        let since = load(debt)
        guard since > now else { return since }
        store(debt, max(now, 1))
        return max(now, 1)
    }

    /// Disarms the timer of `debt` unless the debt came back meanwhile.
    ///
    /// - Returns: Since when the debt exists and the timer must stay armed; 0 if it is disarmed.
    func disarm(_ debt: Debt, now: UInt64) -> UInt64 {
        clear(debt.flag)
        // A packet may have stamped between the check of the caller and the clearing: it saw the
        // timer as armed and told nobody.
        let since = owedSince(debt, now: now)
        guard since != 0 else { return 0 }
        return arm(debt.flag) ? since : 0
    }

    /// Regards `debt` as settled, as by the handshake or keepalive it led to.
    func settle(_ debt: Debt) { store(debt, 0) }

    /// Regards nothing as sent, received or owed yet, and no timer of data as armed.
    func forgetTraffic() {
        // The flags first: a packet that comes between finds its timer not armed, and says so.
        clear(Flag.answerTimer | Flag.keepaliveTimer)
        settle(.answer)
        settle(.keepalive)
        lastSent.store(0, ordering: .relaxed)
        lastReceived.store(0, ordering: .relaxed)
    }

    /// The later of the last packet sent and the last received.
    var lastTraversal: UInt64 {
        max(lastSent.load(ordering: .relaxed), lastReceived.load(ordering: .relaxed))
    }

    /// Bytes both ways but for control frames.
    var carriedBytes: UInt64 {
        transmittedBytes &+ receivedBytes &- controlBytes.load(ordering: .relaxed)
    }

    private func load(_ debt: Debt) -> UInt64 {
        switch debt {
        case .answer: unansweredSince.load(ordering: .sequentiallyConsistent)
        case .keepalive: keepaliveOwedSince.load(ordering: .sequentiallyConsistent)
        }
    }

    private func store(_ debt: Debt, _ value: UInt64) {
        switch debt {
        case .answer: unansweredSince.store(value, ordering: .sequentiallyConsistent)
        case .keepalive: keepaliveOwedSince.store(value, ordering: .sequentiallyConsistent)
        }
    }
}

// MARK: - Handover

extension PeerActivity {
    /// Writes all but which workers hold packets back: those packets are not handed over.
    func write(to writer: inout SnapshotWriter) {
        writer.write(transmittedBytes)
        writer.write(receivedBytes)
        writer.write(lastSent.load(ordering: .relaxed))
        writer.write(lastReceived.load(ordering: .relaxed))
        writer.write(load(.answer))
        writer.write(load(.keepalive))
        writer.write(flags.load(ordering: .relaxed))
    }

    /// No worker holds packets back: those that did are gone.
    func forgetHolders() { holders.store(0, ordering: .sequentiallyConsistent) }

    func restore(from reader: inout SnapshotReader) throws(SnapshotError) {
        sentBytes.store(try reader.uint64(), ordering: .relaxed)
        receivedByteTotal.store(try reader.uint64(), ordering: .relaxed)
        lastSent.store(try reader.uint64(), ordering: .relaxed)
        lastReceived.store(try reader.uint64(), ordering: .relaxed)
        store(.answer, try reader.uint64())
        store(.keepalive, try reader.uint64())
        let flags = try reader.uint32()
        let all = Flag.answerTimer | Flag.keepaliveTimer | Flag.handshakeRequested
        guard flags & ~all == 0 else { throw .invalid("what a peer asked for") }
        self.flags.store(flags, ordering: .sequentiallyConsistent)
    }
}
