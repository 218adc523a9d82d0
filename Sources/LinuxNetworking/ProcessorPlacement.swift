import CLinux
import Glibc
import PacketMemory
import SystemPackage

/// Keeps the thread that made it on one processor, for as long as that has time for it.
///
/// Left to itself, the kernel wakes a worker on the processor of whoever sent it something, though
/// that one goes on working: two busy workers then share a processor while another one idles. And
/// waking a thread on another processor takes an interrupt there, which costs tens of microseconds
/// in a virtual machine.
public final class ProcessorPlacement {
    /// How often the thread has moved on.
    public private(set) var moveCount = 0

    private let processors: [Int32]
    /// Where the thread belongs, and where it is.
    private let home: Int
    private var place: Int
    private let statistics: OwnedDescriptor
    private let text = ByteArena(count: 64)
    private var watch: WaitWatch

    /// Moves the calling thread, which stays the only one to use this object.
    ///
    /// - Parameter ordinal: Which of the allowed processors, counted from 0, around and around.
    /// - Throws: What the kernel refuses; the thread is then where it was.
    ///   sched_getaffinity, sched_setaffinity, /proc/thread-self/schedstat
    init(_ ordinal: Int) throws(Errno) {
        var processors = [Int32](repeating: 0, count: Self.processorsMax)
        let count = unsafe clinux_allowed_processors(&processors, Int32(processors.count))
        if count < 0 { throw Errno(rawValue: -count) }
        self.processors = Array(processors.prefix(Int(count)))
        let opened = unsafe open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)
        if opened < 0 { throw Errno(rawValue: errno) }
        statistics = OwnedDescriptor(opened)
        home = ordinal % self.processors.count
        place = home
        // Two tunnels on one machine that are in each other's way must not keep in step.
        watch = WaitWatch(jitterNanoseconds: UInt64.random(in: 0..<WaitWatch.restMinNanoseconds))
        let status = clinux_run_on(self.processors[place])
        if status < 0 { throw Errno(rawValue: -status) }
    }

    deinit { statistics.close() }

    /// Moves the thread to the next processor if it had to wait for this one too long, and back to
    /// where it belongs once it has little to do.
    ///
    /// Call often while there is work: most calls compare two numbers.
    /// - Parameter now: Monotonic nanoseconds.
    public func review(now: UInt64) {
        guard processors.count > 1, watch.isDue(now: now),
            let times = readTimes()
        else { return }
        switch watch.next(ran: times.ran, waited: times.waited, now: now) {
        case .stay: break
        case .moveOn: move(to: (place + 1) % processors.count)
        case .goHome: if place != home { move(to: home) }
        }
    }

    private func move(to place: Int) {
        self.place = place
        _ = clinux_run_on(processors[place])
        moveCount += 1
    }

    /// Nanoseconds that the thread has run, and that it could have run and did not: the first two
    /// numbers in the file.
    private func readTimes() -> (ran: UInt64, waited: UInt64)? {
        let count = unsafe pread(
            statistics.rawValue, text.whole.unsafeStart, text.whole.count, 0)
        guard count > 0 else { return nil }
        var offset = 0
        let ran = readNumber(&offset, count)
        return (ran, readNumber(&offset, count))
    }

    private func readNumber(_ offset: inout Int, _ count: Int) -> UInt64 {
        var number: UInt64 = 0
        while offset < count && text.whole[offset] != Self.space {
            number = number &* 10 &+ UInt64(text.whole[offset] &- UInt8(ascii: "0"))
            offset += 1
        }
        offset += 1
        return number
    }

    private static let space = UInt8(ascii: " ")
    private static let processorsMax = 1_024
}

/// Decides from the time that a thread waited for its processor whether it should try another.
struct WaitWatch {
    enum Step {
        case stay
        case moveOn
        /// There is so little to do that it does not matter where.
        case goHome
    }

    private let jitterNanoseconds: UInt64
    private var windowStart: UInt64 = 0
    private var ranAtStart: UInt64 = 0
    private var waitedAtStart: UInt64 = 0
    private var calmWindows = 0
    private var movedAt: UInt64 = 0
    private var restNanoseconds = restMinNanoseconds

    init(jitterNanoseconds: UInt64) {
        self.jitterNanoseconds = jitterNanoseconds
    }

    func isDue(now: UInt64) -> Bool { now >= windowStart &+ Self.windowNanoseconds }

    /// Ends a window.
    ///
    /// - Parameters:
    ///   - ran: Nanoseconds that the thread has run until now, in all.
    ///   - waited: Nanoseconds that it has waited for the processor, in all.
    mutating func next(ran: UInt64, waited: UInt64, now: UInt64) -> Step {
        defer {
            windowStart = now
            ranAtStart = ran
            waitedAtStart = waited
        }
        let elapsed = now &- windowStart
        if ran &- ranAtStart < elapsed / Self.calmShareDivisor {
            calmWindows += 1
            guard calmWindows == Self.calmWindowsMin else { return .stay }
            calmWindows = 0
            return .goHome
        }
        calmWindows = 0
        // A long window means that the thread slept: it says nothing of a busy one.
        guard elapsed < Self.windowMaxNanoseconds,
            waited &- waitedAtStart > elapsed / Self.waitShareDivisor,
            now >= movedAt &+ restNanoseconds &+ jitterNanoseconds
        else { return .stay }
        // Where all processors are busy moving on is no use: try ever more seldom.
        let isCalm = now >= movedAt &+ Self.calmFactor &* restNanoseconds
        restNanoseconds =
            isCalm
            ? Self.restMinNanoseconds : min(2 &* restNanoseconds, Self.restMaxNanoseconds)
        movedAt = now
        return .moveOn
    }

    static let windowNanoseconds: UInt64 = 10_000_000
    static let windowMaxNanoseconds: UInt64 = 40_000_000
    /// A quarter of the time.
    static let waitShareDivisor: UInt64 = 4
    /// A thread that runs less than an eighth of the time is calm; for so many windows, and it has
    /// little to do.
    static let calmShareDivisor: UInt64 = 8
    static let calmWindowsMin = 20
    static let restMinNanoseconds: UInt64 = 20_000_000
    static let restMaxNanoseconds: UInt64 = 5_000_000_000
    static let calmFactor: UInt64 = 4
}
