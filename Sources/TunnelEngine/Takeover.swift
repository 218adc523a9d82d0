public import LinuxNetworking
public import Logging
import PacketFormats
import SystemPackage
import WireGuardProtocol

/// The new process's side of a handover; see ``HandoverMessage`` for the conversation.
///
/// 1. ``init(path:)`` asks for what there is, and gets all descriptors.
/// 2. ``makeEngine(signals:log:)`` makes everything that can be made before the old process stops.
/// 3. ``complete(_:)`` takes the state over; when it returns the tunnels are here, and when it
///    throws they are where they were: end this process then.
public final class Takeover {
    public let offer: HandoverOffer
    /// The old process.
    public let process: Int32
    private let socket: HandoverSocket
    private let descriptors: PassedDescriptors
    private var listener: UnixSocketListener?

    /// Where the daemon of an interface, or of a gateway, hands over.
    public static func path(of interface: String) -> String {
        UnixSocketListener.handoverPath(of: interface)
    }

    public init(path: String) throws(HandoverError) {
        let connection: UnixSocket
        do {
            connection = try UnixSocket.connect(path)
        } catch {
            switch error {
            case .noSuchFileOrDirectory, .connectionRefused: throw .nobody(path: path)
            default: throw .failed("connecting to \(path)", error)
            }
        }
        guard let peer = try? connection.peerCredentials(), peer.isTrusted else {
            throw .stranger
        }
        process = peer.processIdentifier
        socket = HandoverSocket(socket: connection)
        try socket.send(.hello) { writer in
            for version in HandoverOffer.versions { writer.write(version) }
        }
        (offer, descriptors) = try socket.receive(
            .offer, within: EngineLimits.handoverHelloNanoseconds,
            descriptorCountMax: EngineLimits.handoverDescriptorsMax
        ) { (reader, descriptors) throws(HandoverError) in
            let offer = try HandoverSocket.read { () throws(SnapshotError) in
                try HandoverOffer(from: &reader)
            }
            guard descriptors.count == offer.descriptorCount else {
                throw .state(.invalid("number of descriptors"))
            }
            return (offer, descriptors)
        }
    }

    /// An engine with the old one's sockets, devices and options, from none of which it reads.
    public func makeEngine(signals: SignalDescriptor, log: Logger) throws -> Engine {
        var options = Engine.Options(workers: offer.workers, sharedPort: offer.sharedPort)
        options.handshakeTrafficClass = offer.handshakeTrafficClass
        options.copiesECN = offer.copiesECN
        options.givenLaneCount = offer.lanes
        let engine = try Engine(signals: signals, options: options, log: log)
        listener = try UnixSocketListener(
            adopting: take(1)[0], path: offer.handoverPath, isFileForeign: true)
        if offer.hasSockets {
            engine.sockets = try UDPSocketGroup.adopt(
                fileDescriptors: take(offer.socketCount), workerCount: offer.workers)
        }
        for part in offer.tunnels {
            let tun = try TunDevice.adopt(fileDescriptors: take(part.queueCount))
            let listener = try UnixSocketListener(
                adopting: take(1)[0], path: part.listenerPath, isFileForeign: true)
            try engine.adopt(
                TunnelSetup(name: part.name, tun: tun, listener: listener), part.number)
        }
        return engine
    }

    /// Takes the state over and goes on with it.
    ///
    /// - Returns: For how long packets waited, in nanoseconds.
    public func complete(_ engine: Engine) throws -> UInt64 {
        try socket.send(.ready)
        do {
            let (memory, stoppedAt) = try receiveState()
            try withExtendedLifetime(memory) {
                var reader = SnapshotReader(memory.whole)
                try engine.restoreState(from: &reader, now: Clock.monotonicNanoseconds())
            }
            try socket.send(.restored)
            try socket.receive(.go, within: EngineLimits.handoverStateNanoseconds)
            try engine.goOn()
            if let control = engine.sockets?.controlSocket {
                try engine.loop.add(
                    control.fileDescriptor, token: EventSource.handshakes.token,
                    events: .readable)
            }
            let waited = Clock.monotonicNanoseconds() - stoppedAt
            try socket.send(.running)
            for tunnel in engine.tunnels.values { tunnel.listener.ownFile() }
            if let listener {
                listener.ownFile()
                try engine.offerHandover(on: listener, note: offer.note)
            }
            return waited
        } catch {
            socket.refuse("\(error)")
            throw error
        }
    }

    private func receiveState() throws(HandoverError) -> (HandoverMemory, UInt64) {
        try socket.receive(
            .state, within: EngineLimits.handoverReadyNanoseconds, descriptorCountMax: 1
        ) { (reader, descriptors) throws(HandoverError) in
            let stoppedAt = try HandoverSocket.read { () throws(SnapshotError) in
                try reader.uint64()
            }
            guard let file = descriptors.take(1)?.first else { throw .unexpected }
            do throws(Errno) {
                let memory = try HandoverMemory(
                    adopting: file, byteCountMax: HandoverMessage.stateByteCountMax)
                return (memory, stoppedAt)
            } catch {
                throw .failed("taking up the state", error)
            }
        }
    }

    private func take(_ count: Int) throws(HandoverError) -> [Int32] {
        guard let taken = descriptors.take(count) else {
            throw .state(.invalid("number of descriptors"))
        }
        return taken
    }
}
