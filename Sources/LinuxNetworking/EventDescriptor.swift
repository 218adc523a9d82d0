import CLinux
import Glibc
public import SystemPackage

/// Wakes the thread that waits on it, from any thread.
public final class EventDescriptor: Sendable {
    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// eventfd
    public init() throws(Errno) {
        let created = clinux_eventfd()
        if created < 0 { throw Errno(rawValue: -created) }
        descriptor = OwnedDescriptor(created)
    }

    /// Makes the descriptor readable until it is drained. write
    public func signal() {
        var one: UInt64 = 1
        // Fails only when 2^64 - 2 signals are pending, and then it is readable anyway.
        _ = unsafe write(descriptor.rawValue, &one, MemoryLayout<UInt64>.size)
    }

    /// Takes all pending signals; does not wait.
    /// - Returns: How many there were. read
    @discardableResult
    public func drain() -> UInt64 {
        var pending: UInt64 = 0
        let count = unsafe read(descriptor.rawValue, &pending, MemoryLayout<UInt64>.size)
        return count == MemoryLayout<UInt64>.size ? pending : 0
    }
}
