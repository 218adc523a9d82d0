import LinuxNetworking
public import Logging
import Synchronization
import TunnelEngine

/// A gateway in this process: an engine that all tenants share, and the supervisor beside it.
public final class GatewayService {
    /// What the operator chose beyond the folder.
    public struct Choices: Sendable {
        /// `nil` for what the folder says, or one per processor.
        public var workers: Int?
        public var handshakeTrafficClass: UInt8
        public var copiesECN: Bool

        public init(workers: Int?, handshakeTrafficClass: UInt8, copiesECN: Bool) {
            self.workers = workers
            self.handshakeTrafficClass = handshakeTrafficClass
            self.copiesECN = copiesECN
        }
    }

    /// `nil` until the process that is taken over from has ended.
    private let lock: PrivateFolder.Lock?
    private let folder: GatewayFolder
    /// How long packets waited while it went from process to process, and who had it before.
    public let takenOver: (nanoseconds: UInt64, version: String, process: Int32)?
    private let log: Logger
    private let engine: Engine
    private let supervisor: Supervisor
    private let signals: SignalDescriptor
    private let reloads: AsyncStream<Void>
    private let reload: AsyncStream<Void>.Continuation

    /// Starts the engine and its workers; to be called before any other thread is started.
    ///
    /// - Throws: What is wrong with the folder or its settings, and what the system refuses.
    public init(
        _ folder: GatewayFolder, _ choices: Choices, processorCount: Int, log: Logger
    ) throws {
        signals = try SignalDescriptor([
            SignalDescriptor.terminate, SignalDescriptor.interrupt, SignalDescriptor.hangUp,
        ])
        ProcessSetup.raiseDescriptorLimit()
        try folder.create()
        self.folder = folder
        self.log = log
        takenOver = nil
        lock = try folder.lock()
        let settings = try folder.settings()
        var options = Engine.Options(
            workers: choices.workers ?? settings.workers ?? processorCount)
        options.sharedPort = settings.listenPort
        options.firewallMark = settings.firewallMark
        options.handshakeTrafficClass = choices.handshakeTrafficClass
        options.copiesECN = choices.copiesECN
        let needed = options.socketCount + GatewayLimits.descriptorReserve
        guard ProcessSetup.descriptorsLeft >= needed else {
            throw TenantFault(
                .descriptorsExhausted,
                "a gateway with \(options.workers) workers needs \(needed) file descriptors before "
                    + "the first tenant, and \(ProcessSetup.descriptorsLeft) are left; raise the "
                    + "limit (LimitNOFILE= of the service, or ulimit -n)")
        }
        // The supervisor ends the engine, once tenants have written what they have to.
        engine = try Engine(signals: SignalDescriptor([]), options: options, log: log)
        supervisor = Supervisor(
            folder, settings, engine: engine.control, queueCount: options.workers, log: log)
        (reloads, reload) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        do {
            try engine.offerHandover(
                on: UnixSocketListener(path: folder.handoverPath), note: "")
        } catch {
            log.warning("`branchline upgrade --gateway` will not work: \(error)")
        }
    }

    /// Goes on in the place of the process that serves the folder, with its tenants' sessions.
    ///
    /// - Throws: Why that cannot be; then the other process goes on.
    public init(takingOver folder: GatewayFolder, log: Logger) throws {
        signals = try SignalDescriptor([
            SignalDescriptor.terminate, SignalDescriptor.interrupt, SignalDescriptor.hangUp,
        ])
        ProcessSetup.raiseDescriptorLimit()
        self.folder = folder
        self.log = log
        lock = nil
        let takeover = try Takeover(path: folder.handoverPath)
        engine = try takeover.makeEngine(signals: SignalDescriptor([]), log: log)
        supervisor = Supervisor(
            folder, try folder.status()?.settings ?? folder.settings(), engine: engine.control,
            queueCount: takeover.offer.workers, inherited: engine.controls, log: log)
        (reloads, reload) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        takenOver = (
            try takeover.complete(engine), takeover.offer.programVersion, takeover.process)
    }

    /// Serves on the calling thread until a signal ends it.
    ///
    /// - Parameter isReady: Called when every tenant's file has been looked at.
    public func run(isReady: @escaping @Sendable () -> Void) throws {
        let (supervisor, reloads, control) = (supervisor, reloads, engine.control)
        let following: Task<Void, Never>
        if takenOver == nil {
            following = Task.detached { await supervisor.run(reloads, isReady: isReady) }
        } else {
            isReady()
            let succession = Succession(folder: folder, reloads: reloads, log: log)
            following = Task.detached { await succession.follow(with: supervisor) }
        }
        let isEnding = Atomic(false)
        _ = try WorkerThread.start(name: "signals") { [signals, reload] _ in
            guard let loop = try? EventLoop(capacity: 1) else { return }
            try? loop.add(signals.fileDescriptor, token: 0, events: .readable)
            while !isEnding.load(ordering: .relaxed) {
                _ = loop.wait(timeoutNanoseconds: nil)
                while let signal = signals.next() {
                    if signal == SignalDescriptor.hangUp {
                        reload.yield()
                    } else if !isEnding.exchange(true, ordering: .relaxed) {
                        Task.detached {
                            await supervisor.finish()
                            control.stop()
                        }
                    }
                }
            }
        }
        if engine.run() == .handedOver { leave() }
        following.cancel()
        withExtendedLifetime(lock) {}
    }

    /// Lets the agents write their last; the thread sleeps meanwhile.
    private func leave() {
        guard let done = try? EventDescriptor(), let loop = try? EventLoop(capacity: 1) else {
            return
        }
        let supervisor = supervisor
        Task.detached {
            await supervisor.leave()
            done.signal()
        }
        try? loop.add(done.fileDescriptor, token: 0, events: .readable)
        _ = loop.wait(timeoutNanoseconds: Self.leaveNanosecondsMax)
    }

    private static let leaveNanosecondsMax: Int64 = 3_000_000_000
}

/// Following the folder from the end of the process that has handed the tenants over: until then
/// it may write.
private struct Succession: Sendable {
    let folder: GatewayFolder
    let reloads: AsyncStream<Void>
    let log: Logger

    func follow(with supervisor: Supervisor) async {
        while !Task.isCancelled {
            guard let lock = lock() else {
                // What is not about waiting for the other process fails at once.
                try? await Task.sleep(for: .seconds(GatewayLimits.retrySecondsFirst))
                continue
            }
            await supervisor.run(reloads) {}
            return withExtendedLifetime(lock) {}
        }
    }

    /// Waits some seconds at most.
    private func lock() -> PrivateFolder.Lock? {
        do {
            return try folder.lock()
        } catch {
            log.error("the tenants' files cannot be followed yet: \(error)")
            return nil
        }
    }
}
