/// Classes as bits, the most urgent in the lowest.
enum ClassMask {
    static let control: UInt8 = 1
    static let token: UInt8 = 2
    static let activation: UInt8 = 4
    static let weighted: UInt8 = 8 | 16
    static let background: UInt8 = 32
    static let priority = token | activation
    /// Whose paths go before the others of their tenant.
    static let urgent = control | priority
}

/// How far the classes of one path may go before others, or must be let go before them.
///
/// Each counter is what one side was served, in percent of bytes, against what it may be while the
/// other waits as well. Nothing is counted while nobody else waits. All are bounded, so that no
/// silence is saved up for long.
struct ClassCredits {
    /// `control` against all others: above 0 it goes first.
    private(set) var control = 0
    /// `token` and `activation` against `prompt` and `bulk`: above 0 they go first.
    private(set) var priority = 0
    /// `activation` that is about to miss its deadline against `token`.
    private(set) var urgent = 0
    /// What all others owe `background`: above 0 it goes first.
    private(set) var background = 0

    /// Full credit.
    init(priorityPercent: Int, quantumBytes: Int) {
        control = Self.bound(Self.controlPercent, quantumBytes)
        priority = Self.bound(priorityPercent, quantumBytes)
        urgent = Self.bound(Self.urgentPercent, quantumBytes)
    }

    /// `background` begins to wait: what it was owed before is forgotten.
    mutating func backgroundArrived() { background = min(background, 0) }

    /// - Parameter waiting: The classes that had frames, with the one that was served.
    mutating func served(
        _ mask: UInt8, _ byteCount: Int, waiting: UInt8, priorityPercent: Int, quantumBytes: Int
    ) {
        let bytes = min(byteCount, 1 << 24)
        if waiting & ClassMask.control != 0 {
            Self.note(
                &control, mask == ClassMask.control, bytes, Self.controlPercent, quantumBytes)
        }
        if waiting & ClassMask.priority != 0 && waiting & ClassMask.weighted != 0
            && mask & (ClassMask.priority | ClassMask.weighted) != 0
        {
            Self.note(
                &priority, mask & ClassMask.priority != 0, bytes, priorityPercent, quantumBytes)
        }
        if waiting & ClassMask.priority == ClassMask.priority && mask & ClassMask.priority != 0 {
            Self.note(
                &urgent, mask == ClassMask.activation, bytes, Self.urgentPercent, quantumBytes)
        }
        if waiting & ClassMask.background != 0 {
            Self.note(
                &background, mask == ClassMask.background, bytes, Self.backgroundPercent,
                quantumBytes)
        }
    }

    @inline(__always)
    private static func note(
        _ credit: inout Int, _ isOwn: Bool, _ bytes: Int, _ percent: Int, _ quantumBytes: Int
    ) {
        let bound = bound(percent, quantumBytes)
        let change = isOwn ? (percent &- 100) &* bytes : percent &* bytes
        credit = max(-bound, min(credit &+ change, bound))
    }

    /// A side is ahead or behind by about 32 packets at most, and by what two frames are worth.
    private static func bound(_ percent: Int, _ quantumBytes: Int) -> Int {
        max(
            burstBytes &* min(percent, 100 &- percent),
            2 &* quantumBytes &* max(percent, 100 &- percent))
    }

    /// `control` is policed to this much: a flood of it competes by weight like the rest.
    static let controlPercent = 10
    /// Whatever waits longer than it may does not end the token streams.
    static let urgentPercent = 50
    static let backgroundPercent = 2
    private static let burstBytes = 48 << 10
}
