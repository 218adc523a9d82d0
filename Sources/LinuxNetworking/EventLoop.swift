import CLinux
import Glibc
public import SystemPackage

/// A set of descriptors that one thread waits on, level-triggered.
///
/// One thread calls ``wait(timeoutNanoseconds:)`` and reads the events; `add`, `modify` and
/// `remove` may come from any thread.
@safe
public final class EventLoop: @unchecked Sendable {
    // Sendable: the kernel serialises epoll_ctl, and the events belong to the thread that waits.

    /// What to wait for; errors and hang-ups wake whether asked for or not.
    public struct Events: OptionSet, Hashable, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        public static let readable = Events(rawValue: EPOLLIN.rawValue)
        public static let writable = Events(rawValue: EPOLLOUT.rawValue)
    }

    private let descriptor: OwnedDescriptor
    private let storage: UnsafeMutablePointer<epoll_event>
    private let capacity: Int

    /// - Parameter capacity: Most events that one wait returns; others come with the next.
    /// - Throws: Also where the system does not let this process wait, as it would not later.
    ///   epoll_create1, epoll_pwait2
    public init(capacity: Int = 64) throws(Errno) {
        precondition(capacity > 0, "an event loop reports at least one event")
        let created = epoll_create1(Int32(EPOLL_CLOEXEC))
        if created < 0 { throw Errno(rawValue: errno) }
        descriptor = OwnedDescriptor(created)
        unsafe storage = .allocate(capacity: capacity)
        unsafe storage.initialize(repeating: epoll_event(), count: capacity)
        self.capacity = capacity
        let count = poll(timeoutNanoseconds: 0)
        if count < 0 && count != -EINTR { throw Errno(rawValue: -count) }
    }

    deinit {
        unsafe storage.deallocate()
    }

    /// Readable while one of the descriptors is ready: a loop can wait on other loops.
    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// - Parameter token: Comes back with every event of this descriptor. epoll_ctl
    public func add(_ fileDescriptor: Int32, token: UInt64, events: Events) throws(Errno) {
        try control(EPOLL_CTL_ADD, fileDescriptor, token, events)
    }

    /// Replaces what a descriptor is waited on for. epoll_ctl
    public func modify(_ fileDescriptor: Int32, token: UInt64, events: Events) throws(Errno) {
        try control(EPOLL_CTL_MOD, fileDescriptor, token, events)
    }

    /// Call before closing the descriptor. epoll_ctl
    public func remove(_ fileDescriptor: Int32) throws(Errno) {
        try control(EPOLL_CTL_DEL, fileDescriptor, 0, [])
    }

    /// Waits for events, which stay readable by index until the next call.
    ///
    /// - Parameter timeoutNanoseconds: `nil` or negative waits for ever, 0 only looks.
    /// - Returns: Number of events, 0 after the timeout or a signal. epoll_pwait2
    public func wait(timeoutNanoseconds: Int64?) -> Int {
        let count = poll(timeoutNanoseconds: timeoutNanoseconds ?? -1)
        if count >= 0 { return Int(count) }
        // Descriptor and memory are this loop's own and the call has worked before, so nothing but
        // a signal is left. Should it fail all the same, its callers must not take up a processor.
        if count != -EINTR { usleep(Self.failurePauseMicroseconds) }
        return 0
    }

    private func poll(timeoutNanoseconds: Int64) -> Int32 {
        unsafe clinux_epoll_wait(
            descriptor.rawValue, storage, Int32(capacity), timeoutNanoseconds)
    }

    /// The token of an event of the latest wait.
    public func token(at index: Int) -> UInt64 {
        precondition(index >= 0 && index < capacity, "no such event")
        return unsafe storage[index].data.u64
    }

    private func control(
        _ operation: Int32, _ fileDescriptor: Int32, _ token: UInt64, _ events: Events
    ) throws(Errno) {
        var event = unsafe epoll_event()
        unsafe event.events = events.rawValue
        unsafe event.data.u64 = token
        if unsafe epoll_ctl(descriptor.rawValue, operation, fileDescriptor, &event) < 0 {
            throw Errno(rawValue: errno)
        }
    }

    private static let failurePauseMicroseconds: UInt32 = 10_000
}
