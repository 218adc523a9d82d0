import Glibc
import LinuxNetworking
import PathBenchmark
import SystemPackage

/// Messages to and from the other end of a test, none of which is waited for without an end.
struct BenchConversation {
    let socket: StreamSocket

    /// Why there is no message.
    enum Fault: Error {
        case ended
        case timedOut
        case broken(Errno)
        case unreadable(TestMessageFault)
    }

    func send(_ message: TestMessage) throws(Fault) {
        do {
            try socket.sendAll(
                message.bytes, until: Clock.after(seconds: TestLimits.answerSecondsMax))
        } catch {
            throw error == .timedOut ? .timedOut : .broken(error)
        }
    }

    /// - Parameters:
    ///   - deadline: Of the monotonic clock, in nanoseconds.
    ///   - look: Called several times a second meanwhile; what it throws ends the waiting.
    func receive(until deadline: UInt64, look: () throws -> Void) throws -> TestMessage {
        var message: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: TestMessage.byteCount)
        while true {
            try look()
            let now = Clock.monotonicNanoseconds()
            guard now < deadline else { throw Fault.timedOut }
            guard socket.isReadable(by: min(deadline, now + Self.lookNanoseconds)) else { continue }
            let count = socket.receive(
                into: &buffer, upTo: TestMessage.byteCount - message.count)
            switch count {
            case 0: throw message.isEmpty ? Fault.ended : Fault.unreadable(.foreign)
            case 1...:
                message += buffer[..<count]
                if message.count == TestMessage.byteCount { return try Self.read(message) }
            case -Int(EAGAIN): continue
            default: throw Fault.broken(Errno(rawValue: Int32(clamping: -count)))
            }
        }
    }

    private static func read(_ bytes: [UInt8]) throws -> TestMessage {
        do {
            return try TestMessage(bytes)
        } catch {
            throw Fault.unreadable(error)
        }
    }

    private static let lookNanoseconds: UInt64 = 50_000_000
}

extension Clock {
    /// The monotonic time that is so many seconds away.
    static func after(seconds: Int) -> UInt64 {
        monotonicNanoseconds() + UInt64(seconds) * 1_000_000_000
    }

    static func after(milliseconds: Int) -> UInt64 {
        monotonicNanoseconds() + UInt64(milliseconds) * 1_000_000
    }
}
