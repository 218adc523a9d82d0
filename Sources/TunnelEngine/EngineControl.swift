import LinuxNetworking
import Logging
import Synchronization
import SystemPackage
public import WireGuardConfiguration

/// Steers an engine from any thread or task of its process; see ``TunnelControl`` for one tunnel.
public final class EngineControl: Sendable {
    let bell: EventDescriptor
    private let mailbox = Mutex(Mailbox())

    private typealias Waiting<Value> = ControlRequest.Waiting<Value>

    fileprivate enum Request: Sendable {
        case add(TunnelSetup, ControlRequest.Waiting<TunnelControl>)
        case drops(ControlRequest.Waiting<[EngineStatus.Drops]>)
        case socketFault(ControlRequest.Waiting<String?>)
        case setLink(QoSSettings.Link?, ControlRequest.Waiting<Void>)

        func fail(_ error: TunnelControlError) {
            switch self {
            case .add(let setup, let waiting):
                setup.listener.close()
                setup.tun.close()
                waiting.resume(returning: .failure(error))
            case .drops(let waiting): waiting.resume(returning: .failure(error))
            case .socketFault(let waiting): waiting.resume(returning: .failure(error))
            case .setLink(_, let waiting): waiting.resume(returning: .failure(error))
            }
        }
    }

    private struct Mailbox {
        var requests: [Request] = []
        var isStopping = false
    }

    init() throws(Errno) {
        bell = try EventDescriptor()
    }

    /// Adds a tunnel to an engine with a shared port, and returns when packets can pass.
    ///
    /// - Throws: ``TunnelControlError/failed(_:)`` and others; then device and listener are closed.
    public func add(_ setup: TunnelSetup) async throws(TunnelControlError) -> TunnelControl {
        try await withCheckedContinuation { waiting in post(.add(setup, waiting)) }.get()
    }

    /// What was dropped and belongs to no tunnel.
    public func drops() async throws(TunnelControlError) -> [EngineStatus.Drops] {
        try await withCheckedContinuation { waiting in post(.drops(waiting)) }.get()
    }

    /// Why the UDP port is not open; `nil` where it is, or nothing wants it.
    public func socketFault() async throws(TunnelControlError) -> String? {
        try await withCheckedContinuation { waiting in post(.socketFault(waiting)) }.get()
    }

    /// Lets all that leaves by a shared port, of whichever tunnel, keep to a line from now on;
    /// `nil` for none. An engine of a single tunnel takes the line that its settings have.
    ///
    /// - Throws: ``TunnelControlError/refused(_:)`` where the line cannot be, or is not shared.
    public func setLink(_ link: QoSSettings.Link?) async throws(TunnelControlError) {
        if let fault = QoSSettings.fault(of: link) { throw .refused(UAPIError(.invalid, fault)) }
        try await withCheckedContinuation { waiting in post(.setLink(link, waiting)) }.get()
    }

    /// Lets ``Engine/run()`` return after the requests made before.
    public func stop() {
        mailbox.withLock { $0.isStopping = true }
        bell.signal()
    }

    private func post(_ request: Request) {
        let refusal: TunnelControlError? = mailbox.withLock { mailbox in
            if mailbox.isStopping { return .ended }
            if mailbox.requests.count >= EngineLimits.controlRequestsWaiting { return .busy }
            mailbox.requests.append(request)
            return nil
        }
        if let refusal { request.fail(refusal) } else { bell.signal() }
    }

    fileprivate func take() -> (requests: [Request], stops: Bool) {
        bell.drain()
        return mailbox.withLock { mailbox in
            let taken = mailbox.requests
            mailbox.requests = []
            return (taken, mailbox.isStopping)
        }
    }

    /// Fails what waits and all that is still to come.
    func end() {
        stop()
        for request in take().requests { request.fail(.ended) }
    }
}

extension Engine {
    /// Carries out what was asked for by ``control``.
    func serveControl() {
        let (requests, stops) = control.take()
        for request in requests {
            switch request {
            case .add(let setup, let waiting): waiting.resume(returning: outcome(of: setup))
            case .drops(let waiting): waiting.resume(returning: .success(drops()))
            case .socketFault(let waiting):
                waiting.resume(returning: .success(socketFault?.reason))
            case .setLink(let link, let waiting): waiting.resume(returning: outcome(of: link))
            }
        }
        if stops { end = .stopped }
    }

    private func outcome(of link: QoSSettings.Link?) -> Result<Void, TunnelControlError> {
        guard isShared else {
            return .failure(
                .refused(UAPIError(.invalid, "the line is the interface's: set it there")))
        }
        if link != self.link { use(link) }
        return .success(())
    }

    private func outcome(of setup: TunnelSetup) -> Result<TunnelControl, TunnelControlError> {
        do {
            return .success(try add(setup).control)
        } catch let error as TunnelControlError {
            return .failure(error)
        } catch {
            log.error("\(setup.name) cannot be served: \(error)")
            return .failure(.failed("\(error)"))
        }
    }
}
