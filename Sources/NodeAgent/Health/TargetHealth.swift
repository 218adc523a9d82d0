/// Whether one target answers through one gateway.
///
/// Pure: what was sent, what came back and the time go in. A target that has not answered
/// ``lossesMax`` times in a row is down. It is up again after ``answersMin`` answers in a row, and
/// not before its hold is over, which doubles with every death that soon follows another: what
/// flaps stays down for longer and longer. All times are monotonic nanoseconds.
struct TargetHealth: Hashable, Sendable {
    enum State: Hashable, Sendable {
        /// Asked, and neither answered nor lost for good: counts as up.
        case unknown
        case up
        case down
    }

    private struct Question: Hashable, Sendable {
        let token: UInt64
        let sentAt: UInt64
        /// No answer came in time; one that comes late says how long it takes.
        var isLost = false
    }

    private(set) var state = State.unknown
    private var questions: [Question] = []
    /// When the newest question that has an answer was sent: losses before it are over.
    private var answeredSentAt: UInt64 = 0
    private var losses = 0
    private var answers = 0
    private(set) var roundTrip: RoundTripEstimate?
    /// Deaths that followed each other soon.
    private var deaths = 0
    private var diedAt: UInt64 = 0
    private var recoveredAt: UInt64 = 0

    mutating func noteSent(_ token: UInt64, at now: UInt64) {
        if questions.count >= Self.questionsMax { questions.removeFirst() }
        questions.append(Question(token: token, sentAt: now))
    }

    /// - Parameter isGood: `false` where somebody said that nobody listens.
    /// - Returns: `false` for an answer to nothing that was asked, or a second one.
    mutating func noteAnswer(_ token: UInt64, isGood: Bool, at now: UInt64) -> Bool {
        guard let index = questions.firstIndex(where: { $0.token == token }) else { return false }
        let question = questions.remove(at: index)
        let elapsed = now > question.sentAt ? now - question.sentAt : 0
        guard isGood else {
            noteLoss(at: now)
            return true
        }
        answeredSentAt = max(answeredSentAt, question.sentAt)
        roundTrip = roundTrip?.updated(elapsed) ?? RoundTripEstimate(elapsed)
        // One that came late was counted as lost, and may have been the first of several.
        losses = 0
        answers += 1
        switch state {
        case .unknown: state = .up
        case .up: break
        case .down:
            guard answers >= Self.answersMin, now >= diedAt + holdNanoseconds else { break }
            state = .up
            recoveredAt = now
        }
        return true
    }

    /// Counts what was not answered in time.
    mutating func advance(to now: UInt64) {
        for index in questions.indices where !questions[index].isLost {
            guard now >= questions[index].sentAt + timeoutNanoseconds else { break }
            questions[index].isLost = true
            if questions[index].sentAt > answeredSentAt { noteLoss(at: now) }
        }
        questions.removeAll { $0.isLost && now >= $0.sentAt + Self.forgetNanoseconds }
    }

    /// When ``advance(to:)`` may change something.
    var nextDeadline: UInt64? {
        questions.first { !$0.isLost }.map { $0.sentAt + timeoutNanoseconds }
    }

    /// How long an answer may take.
    var timeoutNanoseconds: UInt64 {
        guard let roundTrip else { return Self.timeoutMax }
        // What swings by itself, as on a busy machine, must not hide a death for long.
        let swing = min(4 * roundTrip.deviation, max(roundTrip.smoothed, Self.swingMax))
        return min(max(roundTrip.smoothed + swing, Self.timeoutMin), Self.timeoutMax)
    }

    private mutating func noteLoss(at now: UInt64) {
        answers = 0
        losses += 1
        guard losses >= Self.lossesMax, state != .down else { return }
        let isSoon = recoveredAt > 0 && now < recoveredAt + Self.calmNanoseconds
        deaths = isSoon ? deaths + 1 : 0
        state = .down
        diedAt = now
    }

    private var holdNanoseconds: UInt64 {
        guard deaths > 0 else { return 0 }
        return min(Self.holdNanoseconds << UInt64(min(deaths - 1, 16)), Self.holdNanosecondsMax)
    }

    static let lossesMax = 3
    static let answersMin = 5
    static let timeoutMin: UInt64 = 100_000_000
    static let timeoutMax: UInt64 = 1_000_000_000
    private static let swingMax: UInt64 = 200_000_000
    /// The first hold, and the longest.
    static let holdNanoseconds: UInt64 = 2_000_000_000
    static let holdNanosecondsMax: UInt64 = 64_000_000_000
    /// A death that comes later than this after a recovery has nothing to do with the one before.
    static let calmNanoseconds: UInt64 = 60_000_000_000
    private static let forgetNanoseconds: UInt64 = 3_000_000_000
    private static let questionsMax = 32
}

/// How long answers take.
///
/// Source: RFC 6298, section 2.
struct RoundTripEstimate: Hashable, Sendable {
    private(set) var smoothed: UInt64
    private(set) var deviation: UInt64

    init(_ first: UInt64) {
        smoothed = first
        deviation = first / 2
    }

    func updated(_ sample: UInt64) -> RoundTripEstimate {
        var next = self
        let difference = sample > smoothed ? sample - smoothed : smoothed - sample
        next.deviation = deviation - deviation / 4 + difference / 4
        next.smoothed = smoothed - smoothed / 8 + sample / 8
        return next
    }
}
