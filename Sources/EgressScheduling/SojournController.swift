/// CoDel's control law, for a queue that somebody else holds: says when to mark or drop.
///
/// The receiving worker feeds it the time that each message spent in the kernel's socket buffer.
/// Marks and early drops of single packets keep that time near `targetNanoseconds`, where a smaller
/// buffer would throw away whole runs.
///
/// Source: RFC 8289, sections 3 and 5 (the pseudocode's `dodequeue` and `control_law`).
public struct SojournController: Sendable {
    /// Acceptable standing delay.
    public let targetNanoseconds: UInt64
    /// How long the delay must stay above target before the first signal.
    public let intervalNanoseconds: UInt64

    private var state = SojournState()

    public init(targetNanoseconds: UInt64, intervalNanoseconds: UInt64) {
        self.targetNanoseconds = targetNanoseconds
        self.intervalNanoseconds = intervalNanoseconds
    }

    /// Takes note of one message that left the queue.
    ///
    /// - Parameters:
    ///   - sojournNanoseconds: How long it waited.
    ///   - now: Monotonic nanoseconds; never 0.
    /// - Returns: `true` if one packet should be marked, or dropped where it can't be.
    /// - Complexity: O(1).
    public mutating func left(sojournNanoseconds: UInt64, now: UInt64) -> Bool {
        let law = SojournLaw(
            targetNanoseconds: targetNanoseconds, intervalNanoseconds: intervalNanoseconds)
        return state.left(sojournNanoseconds: sojournNanoseconds, now: now, by: law)
    }
}

/// What many queues' controllers have in common.
struct SojournLaw {
    var targetNanoseconds: UInt64
    var intervalNanoseconds: UInt64

    /// For flows of a line: RFC 8290's parameters (section 5.2), where a packet takes less than
    /// the target; slower lines get the time that a packet and a half take (RFC 8289, section 4.3,
    /// wants the target above one).
    init(_ shape: LinkShape) {
        targetNanoseconds = max(5_000_000, shape.packetNanoseconds / 2 * 3)
        intervalNanoseconds = max(100_000_000, 4 * targetNanoseconds)
    }

    init(targetNanoseconds: UInt64, intervalNanoseconds: UInt64) {
        self.targetNanoseconds = targetNanoseconds
        self.intervalNanoseconds = intervalNanoseconds
    }
}

/// Where one queue is in the control law.
struct SojournState {
    private var aboveSince: UInt64 = 0
    private var nextSignal: UInt64 = 0
    private var signalCount: UInt32 = 0
    private var lastCount: UInt32 = 0
    private var isSignalling = false

    /// See ``SojournController/left(sojournNanoseconds:now:)``.
    mutating func left(
        sojournNanoseconds: UInt64, now: UInt64, by law: SojournLaw
    ) -> Bool {
        let isPersistent = noteDelay(sojournNanoseconds, now, law)
        if isSignalling {
            guard isPersistent else {
                isSignalling = false
                return false
            }
            guard now >= nextSignal else { return false }
            signalCount &+= 1
            nextSignal = nextSignal &+ spacing(law)
            if nextSignal < now { nextSignal = now &+ spacing(law) }
            return true
        }
        guard isPersistent else { return false }
        isSignalling = true
        // A queue that comes back soon after the last episode goes on near its signal rate.
        let delta = signalCount &- lastCount
        let isRecent = now &- nextSignal < 16 &* law.intervalNanoseconds
        signalCount = delta > 1 && isRecent ? delta : 1
        lastCount = signalCount
        nextSignal = now &+ spacing(law)
        return true
    }

    private mutating func noteDelay(
        _ sojourn: UInt64, _ now: UInt64, _ law: SojournLaw
    ) -> Bool {
        guard sojourn >= law.targetNanoseconds else {
            aboveSince = 0
            return false
        }
        if aboveSince == 0 {
            aboveSince = now
            return false
        }
        return now &- aboveSince >= law.intervalNanoseconds
    }

    /// interval / sqrt(count)
    private func spacing(_ law: SojournLaw) -> UInt64 {
        UInt64(Double(law.intervalNanoseconds) / Double(max(signalCount, 1)).squareRoot())
    }
}
