import Glibc
import LinuxNetworking
import Synchronization
import SystemPackage

/// The loop that carries packets both ways. Serial:
///
/// 1. let go what is due, in both directions;
/// 2. wait for packets, for the next due time, or for a signal;
/// 3. take a few packets in.
final class Relay: Sendable {
    private let branch: TunDevice
    private let hq: TunDevice
    private let signals: SignalDescriptor
    private let slotBytes: Int
    private let slotCount: Int
    private let up: Impairments
    private let down: Impairments
    private let loop: EventLoop

    init(
        branch: TunDevice, hq: TunDevice, signals: SignalDescriptor, slotBytes: Int,
        slotCount: Int, up: Impairments, down: Impairments
    ) throws {
        self.branch = branch
        self.hq = hq
        self.signals = signals
        self.slotBytes = slotBytes
        self.slotCount = slotCount
        self.up = up
        self.down = down
        loop = try EventLoop(capacity: 4)
        try loop.add(branch.queues[0].fileDescriptor, token: Token.branch, events: .readable)
        try loop.add(hq.queues[0].fileDescriptor, token: Token.hq, events: .readable)
        try loop.add(signals.fileDescriptor, token: Token.signal, events: .readable)
    }

    /// Runs until SIGTERM or SIGINT.
    ///
    /// - Returns: What ended it before that.
    func run() -> Errno? {
        let began = Clock.monotonicNanoseconds()
        var up = Direction(
            from: branch, to: hq, packetByteCountMax: slotBytes, slotCount: slotCount,
            impairments: self.up)
        var down = Direction(
            from: hq, to: branch, packetByteCountMax: slotBytes, slotCount: slotCount,
            impairments: self.down)
        while true {
            if let error = up.release(limit: Self.turnPackets, began: began)
                ?? down.release(limit: Self.turnPackets, began: began)
            {
                return Errno(rawValue: Int32(-error))
            }
            for event in 0..<wait(until: Self.earliest(up.nextDue, down.nextDue), began: began) {
                var error: Int?
                switch loop.token(at: event) {
                case Token.branch: error = up.takeIn(limit: Self.turnPackets, began: began)
                case Token.hq: error = down.takeIn(limit: Self.turnPackets, began: began)
                default:
                    let signal = signals.next()
                    guard signal != nil else { continue }
                    Statistics.print(up: up, down: down, began: began)
                    if signal != RelaySignals.report { return nil }
                }
                if let error { return Errno(rawValue: Int32(-error)) }
            }
        }
    }

    private func wait(until due: UInt64?, began: UInt64) -> Int {
        guard let due else { return loop.wait(timeoutNanoseconds: nil) }
        let now = Clock.monotonicNanoseconds() - began
        return loop.wait(timeoutNanoseconds: due > now ? Int64(due - now) : 0)
    }

    private static func earliest(_ one: UInt64?, _ other: UInt64?) -> UInt64? {
        guard let one, let other else { return one ?? other }
        return min(one, other)
    }

    private enum Token {
        static let branch: UInt64 = 0
        static let hq: UInt64 = 1
        static let signal: UInt64 = 2
    }

    /// Packets of a direction before the other gets its turn: some 50 µs.
    private static let turnPackets = 16
}

/// What the relay listens to.
enum RelaySignals {
    static let report = SIGUSR1
    static let all = [SIGUSR1, SIGTERM, SIGINT]
}

/// How the relay's thread ended, for the thread that waits for it.
final class Outcome: Sendable {
    private let error = Mutex<Errno?>(nil)

    func set(_ error: Errno?) { self.error.withLock { $0 = error } }

    var failure: Errno? { error.withLock { $0 } }
}
