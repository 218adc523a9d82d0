import CLinux
import Glibc
public import SystemPackage

/// Signals as events: readable while one of the chosen signals is pending.
public final class SignalDescriptor: Sendable {
    /// What ends a daemon, and what lets it read its files again.
    public static let terminate = SIGTERM
    public static let interrupt = SIGINT
    public static let hangUp = SIGHUP

    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// Blocks `signals` in the calling thread, and so in all threads that it starts afterwards:
    /// call it first thing in `main`.
    /// pthread_sigmask, signalfd
    public init(_ signals: [Int32]) throws(Errno) {
        let created = unsafe signals.withUnsafeBufferPointer {
            unsafe clinux_signalfd($0.baseAddress, UInt32($0.count))
        }
        if created < 0 { throw Errno(rawValue: -created) }
        descriptor = OwnedDescriptor(created)
    }

    /// Takes one pending signal; does not wait.
    /// - Returns: Its number, or `nil` when none is pending. read
    public func next() -> Int32? {
        let signal = clinux_signalfd_next(descriptor.rawValue)
        return signal > 0 ? signal : nil
    }
}
