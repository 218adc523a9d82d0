import Glibc
import LinuxNetworking
import Synchronization

/// Making namespaces, TUN devices and marks needs root.
package let isRoot: Bool = {
    if geteuid() == 0 { return true }
    print("skipped: tests of namespaces, TUN devices and rtnetlink need root")
    return false
}()

/// Runs `body` on a thread of its own in a network namespace of its own, loopback up.
package func inNewNamespace(
    loopbackMTU: Int? = nil, _ body: @escaping @Sendable () throws -> Void
) throws {
    try onOwnThread {
        try NetworkNamespace.enterNew()
        try RoutingNetlink().setLink(1, up: true, mtu: loopbackMTU)
        try body()
    }
}

/// Runs `body` on a thread of its own and throws what it throws.
package func onOwnThread(_ body: @escaping @Sendable () throws -> Void) throws {
    let failure = Failure()
    let thread = try WorkerThread.start(name: "test") { _ in
        do { try body() } catch { failure.note(error) }
    }
    thread.join()
    try failure.rethrow()
}

/// What a thread threw.
package final class Failure: Sendable {
    private let error = Mutex<(any Error)?>(nil)

    package init() {}

    package func note(_ thrown: any Error) { error.withLock { $0 = $0 ?? thrown } }
    package func rethrow() throws { if let thrown = error.withLock({ $0 }) { throw thrown } }
}

/// Waits until `condition` holds, for at most twenty seconds.
package func eventually(_ condition: () -> Bool) -> Bool {
    let deadline = Clock.monotonicNanoseconds() + 20_000_000_000
    while !condition() {
        if Clock.monotonicNanoseconds() > deadline { return false }
        usleep(1_000)
    }
    return true
}

/// A path in the directory for temporary files that no other test uses.
package func temporaryPath(_ name: String) -> String {
    "/tmp/branchline-test-\(getpid())-\(name)"
}
