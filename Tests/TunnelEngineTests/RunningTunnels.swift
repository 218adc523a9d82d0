import Glibc
import LinuxNetworking
import Logging
import Synchronization
import SystemPackage
import TestSupport

@testable import TunnelEngine

/// Tunnels on threads of their own, in one network namespace of their own.
///
/// Without ``release()`` they are made and do not run.
final class RunningTunnels: Sendable {
    private let threads = Mutex<[WorkerThread]>([])
    private let made = Mutex<[TunnelControl]>([])
    private let ended = Mutex<[Engine.End]>([])
    private let failure = Failure()
    private let gate = Mutex(Gate.closed)

    private enum Gate { case closed, open, abandoned }

    /// - Parameter count: 1 or 2.
    init(count: Int = 1, workers: Int = 1, runsAtOnce: Bool = true) throws {
        if runsAtOnce { release() }
        let first = try WorkerThread.start(name: "tunnel-0") { [self] _ in
            attempt {
                try NetworkNamespace.enterNew()
                try RoutingNetlink().setLink(1, up: true)
                if count > 1 {
                    // Threads begin in the namespace of the one that starts them.
                    let second = try WorkerThread.start(name: "tunnel-1") { [self] _ in
                        attempt { try serve("bltun1", workers) }
                    }
                    threads.withLock { $0.append(second) }
                }
                try serve("bltun0", workers)
            }
        }
        threads.withLock { $0.append(first) }
        guard eventually({ made.withLock { $0.count } == count }) else {
            abandon()
            try failure.rethrow()
            throw Errno(rawValue: ETIMEDOUT)
        }
    }

    var controls: [TunnelControl] { made.withLock { $0 } }
    var ends: [Engine.End] { ended.withLock { $0 } }

    /// Lets the tunnels run.
    func release() { gate.withLock { $0 = .open } }

    /// Lets tunnels that do not run yet go without running.
    func abandon() { gate.withLock { $0 = $0 == .closed ? .abandoned : $0 } }

    /// Stops the tunnels, and waits until they have ended.
    func stop() throws {
        abandon()
        for control in controls { control.stop() }
        while let thread = threads.withLock({ $0.popLast() }) { thread.join() }
        try failure.rethrow()
    }

    private func attempt(_ body: () throws -> Void) {
        do { try body() } catch { failure.note(error) }
    }

    private func serve(_ name: String, _ workers: Int) throws {
        let tun = try TunDevice.create(name: name, queueCount: workers)
        try RoutingNetlink().setLink(tun.interfaceIndex, up: true)
        let engine = try Engine(
            signals: try SignalDescriptor([SIGUSR2]), options: .init(workers: workers),
            log: Logger(label: name) { _ in SwiftLogNoOpLogHandler() })
        // Not by a descriptor's number, which another test may be given next.
        let listener = try UnixSocketListener(
            path: temporaryPath("\(UInt64.random(in: .min ... .max)).sock"))
        let tunnel = try engine.add(TunnelSetup(name: name, tun: tun, listener: listener))
        made.withLock { $0.append(tunnel.control) }
        while gate.withLock({ $0 == .closed }) { usleep(1_000) }
        guard gate.withLock({ $0 == .open }) else { return }
        let end = engine.run()
        ended.withLock { $0.append(end) }
    }
}
