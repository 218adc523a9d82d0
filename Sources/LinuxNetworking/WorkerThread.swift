import CLinux
import Glibc
public import SystemPackage
import Synchronization

/// A POSIX thread with a name and a place in the scheduler.
public final class WorkerThread: Sendable {
    /// What the kernel refused of the wanted scheduling, each in words that fit a log line.
    public var schedulingFallbacks: [String] { shared.fallbacks.withLock { $0 } }

    private let thread: Mutex<pthread_t?>
    private let shared: Shared

    /// What the two threads have in common.
    fileprivate final class Shared: Sendable {
        let name: String
        let niceness: Int32
        let sliceNanoseconds: UInt64
        let processor: Int?
        let body: @Sendable (ProcessorPlacement?) -> Void
        let fallbacks = Mutex<[String]>([])
        let ready: EventDescriptor

        init(
            _ name: String, _ niceness: Int32, _ sliceNanoseconds: UInt64, _ processor: Int?,
            _ body: @escaping @Sendable (ProcessorPlacement?) -> Void
        ) throws(Errno) {
            self.name = name
            self.niceness = niceness
            self.sliceNanoseconds = sliceNanoseconds
            self.processor = processor
            self.body = body
            ready = try EventDescriptor()
        }
    }

    /// Starts a thread and returns once its scheduling is set, just before `body` begins.
    ///
    /// - Parameters:
    ///   - name: Shown by `top -H`; cut to 15 bytes.
    ///   - niceness: -20 (first) ... 19 (last), for this thread only. Below 0 needs CAP_SYS_NICE.
    ///   - sliceNanoseconds: Time slice, 0 for the kernel's own. A short one lets the thread run
    ///     sooner after it wakes. Takes effect from Linux 6.12, as 0.1 to 100 ms.
    ///   - processor: Which of the allowed processors to stay on, counted from 0, round and round;
    ///     `nil` leaves that to the kernel.
    ///   - body: Runs on the thread, and is given the placement that it has to review.
    /// - Throws: What pthread_create says; scheduling that was refused is no error but listed in
    ///   ``schedulingFallbacks``. pthread_create, setpriority, sched_setattr,
    ///   sched_setaffinity
    public static func start(
        name: String, niceness: Int = 0, sliceNanoseconds: UInt64 = 0, processor: Int? = nil,
        body: @escaping @Sendable (ProcessorPlacement?) -> Void
    ) throws(Errno) -> WorkerThread {
        let shared = try Shared(
            name, Int32(clamping: niceness), sliceNanoseconds, processor, body)
        // The new thread takes this reference over.
        let argument = unsafe Unmanaged.passRetained(shared)
        var thread = pthread_t()
        let status = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                WorkerThread.run(unsafe Unmanaged<Shared>.fromOpaque(argument).takeRetainedValue())
                return nil
            }, argument.toOpaque())
        if status != 0 {
            unsafe argument.release()
            throw Errno(rawValue: status)
        }
        shared.awaitReady()
        return WorkerThread(thread, shared)
    }

    private init(_ thread: pthread_t, _ shared: Shared) {
        self.thread = Mutex(thread)
        self.shared = shared
    }

    /// Waits until `body` has returned; further calls return at once. pthread_join
    public func join() {
        let taken = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        if let taken { _ = pthread_join(taken, nil) }
    }

    deinit {
        if let thread = thread.withLock({ $0 }) { _ = pthread_detach(thread) }
    }

    private static func run(_ shared: Shared) {
        _ = unsafe clinux_set_thread_name(String(shared.name.prefix(15)))
        let thread = clinux_thread_identifier()
        var fallbacks: [String] = []
        if shared.niceness != 0 {
            let status = clinux_set_niceness(thread, shared.niceness)
            if status < 0 {
                fallbacks.append(
                    "thread \(shared.name): niceness \(shared.niceness) refused: "
                        + "\(Errno(rawValue: -status))")
            }
        }
        if shared.sliceNanoseconds != 0 {
            if let reason = setSlice(of: thread, shared) { fallbacks.append(reason) }
        }
        var placement: ProcessorPlacement?
        if let processor = shared.processor {
            do {
                placement = try ProcessorPlacement(processor)
            } catch {
                fallbacks.append("thread \(shared.name): no processor of its own: \(error)")
            }
        }
        let reported = fallbacks
        shared.fallbacks.withLock { $0 = reported }
        shared.ready.signal()
        shared.body(placement)
    }

    /// Sets the slice and reads it back: kernels before 6.12 accept and ignore it.
    private static func setSlice(of thread: Int32, _ shared: Shared) -> String? {
        // sched_setattr sets both at once; a niceness that was refused must not come back here.
        let niceness = getpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(thread))
        let status = clinux_set_slice(thread, niceness, shared.sliceNanoseconds)
        if status < 0 {
            return "thread \(shared.name): time slice refused: \(Errno(rawValue: -status))"
        }
        var slice: UInt64 = 0
        if unsafe clinux_slice(thread, &slice) < 0 || slice == 0 {
            return "thread \(shared.name): time slice has no effect before Linux 6.12"
        }
        return nil
    }
}

extension WorkerThread.Shared {
    fileprivate func awaitReady() {
        var waiting = pollfd(fd: ready.fileDescriptor, events: Int16(POLLIN), revents: 0)
        while unsafe poll(&waiting, 1, -1) < 0 && errno == EINTR {}
    }
}
