import CLinux
import Glibc
public import SystemPackage

/// Another process, which this name goes on to mean even when its number is given to another one.
public final class ProcessHandle: Sendable {
    private let descriptor: OwnedDescriptor

    /// - Throws: ESRCH when there is no such process, ENOSYS before Linux 5.3. pidfd_open
    public init(_ processIdentifier: Int32) throws(Errno) {
        let opened = clinux_process_descriptor(processIdentifier)
        if opened < 0 { throw Errno(rawValue: -opened) }
        descriptor = OwnedDescriptor(opened)
    }

    /// Waits for the end of the process. poll
    ///
    /// - Returns: Whether it has ended, after `nanoseconds` at most.
    public func hasEnded(within nanoseconds: UInt64) -> Bool {
        let deadline = Clock.monotonicNanoseconds() &+ nanoseconds
        while true {
            let now = Clock.monotonicNanoseconds()
            let left = deadline > now ? (deadline - now + 999_999) / 1_000_000 : 0
            var waiting = pollfd(
                fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            let count = unsafe poll(&waiting, 1, Int32(clamping: left))
            if count > 0 { return true }
            if count == 0 || errno != EINTR { return false }
        }
    }

    /// Ends the process at once. pidfd_send_signal
    public func kill() { _ = clinux_kill_process(descriptor.rawValue, SIGKILL) }
}
