public import AccessControl
public import Cryptography
public import EgressScheduling
import InferenceTraffic
import LinuxNetworking
import Logging
public import PacketFormats
import Synchronization
import SystemPackage
public import WireGuardConfiguration
import WireGuardProtocol

/// Why a request to a running tunnel was not carried out.
public enum TunnelControlError: Error, Hashable, Sendable {
    /// As a request on the configuration socket is refused; nothing has changed.
    case refused(UAPIError)
    /// ``EngineLimits/controlRequestsWaiting`` requests wait already.
    case busy
    /// The tunnel has ended, or will not begin any more.
    case ended
    /// ``EngineLimits/tunnelsMax`` tunnels are there already.
    case tooManyTunnels
    /// The system does not give what a tunnel needs, in words for the operator.
    case failed(String)
}

/// Steers a tunnel from any thread or task of its process.
///
/// Requests are carried out on the control thread, in the order in which they came, by the same
/// code as those on the configuration socket; before ``Tunnel/run()`` they wait. One that was made
/// is carried out even if its task is cancelled.
public final class TunnelControl: Sendable {
    let bell: EventDescriptor
    private let mailbox = Mutex(Mailbox())

    /// What came from peers and ``watchAnswers(_:)`` asked for; the newest where nobody listens.
    public let answers: AsyncStream<TunnelAnswer>
    let answered: AsyncStream<TunnelAnswer>.Continuation

    private struct Mailbox {
        var requests: [ControlRequest] = []
        var isStopping = false
        var isHandedOver = false
        var end: Tunnel.End?
        var waitingForEnd: [CheckedContinuation<Tunnel.End, Never>] = []
    }

    init() throws(Errno) {
        bell = try EventDescriptor()
        (answers, answered) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingNewest(EngineLimits.answersWaiting))
    }

    /// Changes what `settings` mentions, and returns when the change is in force: packets that the
    /// kernel delivers from now on are handled by it.
    public func apply(_ settings: DeviceSettings) async throws(TunnelControlError) {
        try await withCheckedContinuation { waiting in
            post(.apply(settings, waiting))
        }.get()
    }

    /// The tunnel as it is now, keys included.
    public func status() async throws(TunnelControlError) -> DeviceStatus {
        try await withCheckedContinuation { waiting in post(.status(waiting)) }.get()
    }

    /// Ends the tunnel, and an engine that serves no other, after the requests made before. Later
    /// ones fail; further calls do nothing.
    public func stop() {
        mailbox.withLock { $0.isStopping = true }
        bell.signal()
    }

    /// Sets what the tunnel may use from now on. Peers beyond a lower limit stay.
    ///
    /// - Throws: ``TunnelControlError/refused(_:)`` where the limits contradict each other.
    public func setLimits(_ limits: TenantLimits) async throws(TunnelControlError) {
        if let fault = limits.fault() { throw .refused(UAPIError(.invalid, fault)) }
        try await withCheckedContinuation { waiting in post(.limits(limits, waiting)) }.get()
    }

    /// Lets through only what the filter allows, from now on and whichever way it goes; `nil` lets
    /// everything through.
    public func setAccess(_ filter: AccessFilter?) async throws(TunnelControlError) {
        try await withCheckedContinuation { waiting in post(.access(filter, waiting)) }.get()
    }

    /// Tells traffic apart, orders and marks it by these settings from now on, in the place of
    /// those before. They may name peers that are still to come. On a shared port a line of the
    /// tunnel's own is left out: see ``EngineControl/setLink(_:)``.
    ///
    /// - Throws: ``TunnelControlError/refused(_:)`` where the settings contradict each other.
    public func setQoS(_ settings: QoSSettings) async throws(TunnelControlError) {
        if let fault = settings.fault() { throw .refused(UAPIError(.invalid, fault)) }
        try await withCheckedContinuation { waiting in post(.setQoS(settings, waiting)) }.get()
    }

    /// What scheduler and flow table say of the tunnel now.
    public func qos() async throws(TunnelControlError) -> QoSStatus {
        try await withCheckedContinuation { waiting in post(.qos(waiting)) }.get()
    }

    /// The flows that are asked for, those that moved last first: at most
    /// ``FlowQuery/flowsMax``.
    public func flows(_ query: FlowQuery) async throws(TunnelControlError) -> [FlowReport] {
        try await withCheckedContinuation { waiting in post(.flows(query, waiting)) }.get()
    }

    /// Hands packets that `marks` match to ``answers`` instead of the interface, from now on; `nil`
    /// ends that. They pass the same checks as all others before.
    public func watchAnswers(_ marks: ProbeMarks?) async throws(TunnelControlError) {
        try await withCheckedContinuation { waiting in
            post(.watchAnswers(marks, waiting))
        }.get()
    }

    /// Sends IP packets of the caller's own, each to the peer that has the key and to no other.
    ///
    /// Best effort: what cannot leave at once, as without a session, is gone.
    public func inject(_ packets: [(packet: [UInt8], peer: PublicKey)]) {
        post(.inject(packets))
    }

    /// Takes up the interface's state now, as after it was changed from another network namespace.
    public func noteLink() async throws(TunnelControlError) {
        try await withCheckedContinuation { waiting in post(.noteLink(waiting)) }.get()
    }

    /// Whether another process goes on with the tunnel: what is in force because of it stays so.
    public var isHandedOver: Bool { mailbox.withLock { $0.isHandedOver } }

    /// Returns when the tunnel has ended and its device is closed, and says why.
    public var outcome: Tunnel.End {
        get async {
            await withCheckedContinuation { waiting in
                let end = mailbox.withLock { mailbox in
                    if mailbox.end == nil { mailbox.waitingForEnd.append(waiting) }
                    return mailbox.end
                }
                if let end { waiting.resume(returning: end) }
            }
        }
    }

    /// Ends the tunnel, and returns when nothing of it is left.
    public func remove() async {
        stop()
        _ = await outcome
    }

    private func post(_ request: ControlRequest) {
        let refusal: TunnelControlError? = mailbox.withLock { mailbox in
            if mailbox.isStopping { return .ended }
            if mailbox.requests.count >= EngineLimits.controlRequestsWaiting { return .busy }
            mailbox.requests.append(request)
            return nil
        }
        if let refusal { request.fail(refusal) } else { bell.signal() }
    }
}

/// A packet from a peer that may answer an injected one.
public struct TunnelAnswer: Sendable {
    /// An IP packet from an address that the peer may use.
    public let packet: [UInt8]
    /// Monotonic nanoseconds.
    public let receivedAt: UInt64
}

/// One request, and who waits for its outcome.
enum ControlRequest: Sendable {
    typealias Waiting<Value> = CheckedContinuation<Result<Value, TunnelControlError>, Never>

    case apply(DeviceSettings, Waiting<Void>)
    case status(Waiting<DeviceStatus>)
    case noteLink(Waiting<Void>)
    case limits(TenantLimits, Waiting<Void>)
    case access(AccessFilter?, Waiting<Void>)
    case watchAnswers(ProbeMarks?, Waiting<Void>)
    case setQoS(QoSSettings, Waiting<Void>)
    case qos(Waiting<QoSStatus>)
    case flows(FlowQuery, Waiting<[FlowReport]>)
    case inject([(packet: [UInt8], peer: PublicKey)])

    func fail(_ error: TunnelControlError) {
        switch self {
        case .apply(_, let waiting): waiting.resume(returning: .failure(error))
        case .status(let waiting): waiting.resume(returning: .failure(error))
        case .noteLink(let waiting), .limits(_, let waiting), .access(_, let waiting),
            .watchAnswers(_, let waiting), .setQoS(_, let waiting):
            waiting.resume(returning: .failure(error))
        case .qos(let waiting): waiting.resume(returning: .failure(error))
        case .flows(_, let waiting): waiting.resume(returning: .failure(error))
        case .inject: break
        }
    }
}

// MARK: - Control thread

extension TunnelControl {
    /// Takes what waits.
    ///
    /// - Returns: At most `countMax` requests in order, whether there are more, and whether the
    ///   tunnel is to stop after these.
    func take(
        countMax: Int = .max
    ) -> (requests: [ControlRequest], hasMore: Bool, stops: Bool) {
        bell.drain()
        return mailbox.withLock { mailbox in
            let taken = Array(mailbox.requests.prefix(countMax))
            mailbox.requests.removeFirst(taken.count)
            let hasMore = !mailbox.requests.isEmpty
            return (taken, hasMore, mailbox.isStopping && !hasMore)
        }
    }

    func noteHandover() { mailbox.withLock { $0.isHandedOver = true } }

    /// Fails what waits and all that is still to come.
    func end() {
        stop()
        for request in take().requests { request.fail(.ended) }
        answered.finish()
    }

    /// Tells whoever waits that the tunnel is no more.
    func finish(_ end: Tunnel.End) {
        let waiting = mailbox.withLock { mailbox in
            mailbox.end = end
            defer { mailbox.waitingForEnd = [] }
            return mailbox.waitingForEnd
        }
        for continuation in waiting { continuation.resume(returning: end) }
    }
}

extension Tunnel {
    /// Carries out what was asked for by ``control``, as far as it is this tunnel's turn. Routes
    /// are made once for all of it.
    func serveControl() {
        let (requests, hasMore, stops) = control.take(
            countMax: EngineLimits.controlRequestsPerPass)
        hasMoreRequests = hasMore
        var outcomes: [() -> Void] = []
        for request in requests {
            switch request {
            case .apply(let settings, let waiting):
                let outcome = outcome(of: settings)
                outcomes.append { waiting.resume(returning: outcome) }
            case .status(let waiting):
                let status = status()
                outcomes.append { waiting.resume(returning: .success(status)) }
            case .limits(let limits, let waiting):
                use(limits)
                queueForAll(.setLimits(self.limits))
                outcomes.append { waiting.resume(returning: .success(())) }
            case .access(let filter, let waiting):
                access = filter
                queueForAll(.setAccess(filter))
                outcomes.append { waiting.resume(returning: .success(())) }
            case .watchAnswers(let marks, let waiting):
                probeMarks = marks
                queueForAll(.watchAnswers(marks))
                outcomes.append { waiting.resume(returning: .success(())) }
            case .setQoS(let settings, let waiting):
                use(settings)
                outcomes.append { waiting.resume(returning: .success(())) }
            case .qos(let waiting):
                ask(.status) { [unowned self] in
                    waiting.resume(returning: .success(qosStatus($0)))
                }
            case .flows(let query, let waiting):
                ask(.flows(FlowFilter(query))) { [unowned self] in
                    waiting.resume(returning: .success(flowReports($0)))
                }
            case .inject(let packets):
                for (packet, key) in packets { inject(packet, to: key) }
            case .noteLink(let waiting):
                lookAtForeignLink()
                outcomes.append { waiting.resume(returning: .success(())) }
            }
        }
        finishChanges()
        for tell in outcomes { tell() }
        if stops { end = .stopped }
    }

    private func inject(_ packet: [UInt8], to key: PublicKey) {
        guard let peer = device.peerID(key) else { return }
        queue(.inject(peer, packet), for: device.homeWorker(peer))
    }

    /// Hands what may be an answer to whoever asked.
    func hand(on packet: [UInt8], from peer: PeerID, at time: UInt64) {
        guard peers[peer] != nil else { return }
        control.answered.yield(TunnelAnswer(packet: packet, receivedAt: time))
    }

    private func outcome(of settings: DeviceSettings) -> Result<Void, TunnelControlError> {
        do throws(UAPIError) {
            try settings.check()
            return .success(try apply(settings))
        } catch {
            log.error("configuration refused: \(error)")
            return .failure(.refused(error))
        }
    }
}
