import LinuxNetworking
import PacketMemory
public import SystemPackage
public import WireGuardProtocol

/// What two processes say to each other while the old one hands its tunnels to the new one.
///
/// | from | message | carries |
/// |---|---|---|
/// | new | hello | the formats that it reads, and what it wants to serve |
/// | old | offer | what there is (``HandoverOffer``), with all descriptors |
/// | new | ready | it has taken up the descriptors, and reads from none of them |
/// | old | state | the memory with all state; from here on the old one has stopped |
/// | new | restored | it can go on, and has sent nothing yet |
/// | old | go | the old one will never again use the sessions of that state |
/// | new | running | it has gone on |
///
/// Either may say `refused` instead, or hang up. Until `go` the old one then goes on as if nothing
/// had been. After it, it makes sure that the new process has ended, forgets all sessions, whose
/// counters the new one may have used, and begins new ones.
enum HandoverMessage: UInt8 {
    case hello = 1, offer, ready, state, restored, go, running, refused

    /// Of the conversation and of its messages.
    static let version: UInt16 = 1
    static let byteCountMax = 4 << 20
    static let stateByteCountMax = 16 << 30

    func bytes(_ body: (inout SnapshotWriter) -> Void = { _ in }) -> [UInt8] {
        var counting = SnapshotWriter()
        body(&counting)
        let arena = ByteArena(count: counting.count + 1)
        return withExtendedLifetime(arena) {
            var writer = SnapshotWriter(into: arena.whole)
            writer.write(rawValue)
            body(&writer)
            return arena.whole.bytes
        }
    }
}

/// Why tunnels were not handed over, in words for the operator.
public enum HandoverError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Nobody serves there who could hand anything over.
    case nobody(path: String)
    /// The other process is another user's.
    case stranger
    case refused(String)
    case failed(String, Errno)
    /// The other process said nothing more, or has ended.
    case hungUp
    case state(SnapshotError)
    /// The other process said something else than was its turn to say.
    case unexpected

    public var description: String {
        switch self {
        case .nobody(let path):
            "no running daemon hands over at \(path); start one as usual"
        case .stranger: "the running daemon is another user's; do this as that user, or as root"
        case .refused(let reason): reason
        case .failed(let step, let errno): "\(step) failed: \(errno)"
        case .hungUp: "the other process hung up"
        case .state(let error): error.description
        case .unexpected: "the running daemon speaks of something else"
        }
    }
}

/// One end of the conversation.
struct HandoverSocket {
    let socket: UnixSocket

    func send(
        _ message: HandoverMessage, passing descriptors: [Int32] = [],
        _ body: (inout SnapshotWriter) -> Void = { _ in }
    ) throws(HandoverError) {
        do {
            try socket.send(
                message: message.bytes(body), passing: descriptors,
                timeoutNanoseconds: EngineLimits.handoverMessageNanoseconds)
        } catch {
            throw .failed("sending \(message)", error)
        }
    }

    /// Receives the message whose turn it is.
    ///
    /// - Throws: ``HandoverError/refused(_:)`` where the other end says no instead.
    func receive<Value>(
        _ expected: HandoverMessage, within nanoseconds: UInt64, descriptorCountMax: Int = 0,
        _ body: (inout SnapshotReader, PassedDescriptors) throws(HandoverError) -> Value
    ) throws(HandoverError) -> Value {
        let message: UnixSocket.Message
        do {
            message = try socket.receiveMessage(
                byteCountMax: HandoverMessage.byteCountMax,
                descriptorCountMax: descriptorCountMax, timeoutNanoseconds: nanoseconds)
        } catch {
            throw error == .connectionReset ? .hungUp : .failed("waiting for \(expected)", error)
        }
        let arena = ByteArena(count: max(message.bytes.count, 1))
        return try withExtendedLifetime(arena) { () throws(HandoverError) in
            for (offset, byte) in message.bytes.enumerated() { arena.whole[offset] = byte }
            var reader = SnapshotReader(arena.whole.prefix(message.bytes.count))
            return try Self.take(expected, from: &reader, message.descriptors, body)
        }
    }

    private static func take<Value>(
        _ expected: HandoverMessage, from reader: inout SnapshotReader,
        _ descriptors: PassedDescriptors,
        _ body: (inout SnapshotReader, PassedDescriptors) throws(HandoverError) -> Value
    ) throws(HandoverError) -> Value {
        let kind = HandoverMessage(rawValue: try Self.read { () throws(SnapshotError) in
            try reader.uint8()
        })
        if kind == .refused {
            throw .refused(
                try Self.read { () throws(SnapshotError) in
                    try reader.text(byteCountMax: 4_096)
                })
        }
        guard kind == expected else { throw .unexpected }
        return try body(&reader, descriptors)
    }

    func receive(
        _ expected: HandoverMessage, within nanoseconds: UInt64
    ) throws(HandoverError) {
        try receive(expected, within: nanoseconds) { (_, _) throws(HandoverError) in }
    }

    /// Says no, if the other end still listens.
    func refuse(_ reason: String) {
        try? send(.refused) { $0.write(reason) }
    }

    static func read<Value>(
        _ body: () throws(SnapshotError) -> Value
    ) throws(HandoverError) -> Value {
        do { return try body() } catch { throw .state(error) }
    }
}

/// What the old process has, but for the state that changes with every packet.
public struct HandoverOffer: Sendable {
    /// A tunnel, in the order of the descriptors.
    struct TunnelPart: Sendable {
        var number: TunnelID
        var name: String
        var queueCount: Int
        var listenerPath: String
    }

    /// Of the program that is left.
    public var programVersion: String
    /// What the old process was told beside the engine's options.
    public var note: String
    public private(set) var workers: Int
    var lanes: Int
    var sharedPort: UInt16?
    var handshakeTrafficClass: UInt8
    var copiesECN: Bool
    var hasSockets: Bool
    var handoverPath: String
    var tunnels: [TunnelPart]

    public var socketCount: Int { hasSockets ? workers * lanes + 1 : 0 }

    /// The handover's own listener, UDP sockets, then each tunnel's queues and listener.
    var descriptorCount: Int {
        1 + socketCount + tunnels.reduce(0) { $0 + $1.queueCount + 1 }
    }

    func write(to writer: inout SnapshotWriter) {
        writer.write(programVersion)
        writer.write(note)
        writer.write(UInt16(workers))
        writer.write(UInt16(lanes))
        writer.write(sharedPort) { $0.write($1) }
        writer.write(handshakeTrafficClass)
        writer.write(copiesECN)
        writer.write(hasSockets)
        writer.write(handoverPath)
        writer.write(count: tunnels.count)
        for tunnel in tunnels {
            writer.write(count: Int(tunnel.number))
            writer.write(tunnel.name)
            writer.write(UInt16(tunnel.queueCount))
            writer.write(tunnel.listenerPath)
        }
    }

    init(
        programVersion: String, note: String, options: Engine.Options, hasSockets: Bool,
        handoverPath: String, tunnels: [TunnelPart]
    ) {
        self.programVersion = programVersion
        self.note = note
        workers = options.workers
        lanes = options.laneCount
        sharedPort = options.sharedPort
        handshakeTrafficClass = options.handshakeTrafficClass
        copiesECN = options.copiesECN
        self.hasSockets = hasSockets
        self.handoverPath = handoverPath
        self.tunnels = tunnels
    }

    init(from reader: inout SnapshotReader) throws(SnapshotError) {
        programVersion = try reader.text()
        note = try reader.text(byteCountMax: 65_536)
        workers = Int(try reader.uint16())
        lanes = Int(try reader.uint16())
        sharedPort = try reader.optional { reader throws(SnapshotError) in try reader.uint16() }
        handshakeTrafficClass = try reader.uint8()
        copiesECN = try reader.bool()
        hasSockets = try reader.bool()
        handoverPath = try reader.text(byteCountMax: 4_096)
        guard (1...EngineLimits.workersMax).contains(workers),
            (1...ImplementationLimits.laneCountMax).contains(lanes)
        else { throw .invalid("number of workers") }
        tunnels = []
        let count = try reader.count(
            max: EngineLimits.tunnelsMax, byteCountMin: 14, of: "tunnels")
        for _ in 0..<count {
            guard let number = TunnelID(exactly: try reader.uint32()) else {
                throw .invalid("a tunnel's number")
            }
            tunnels.append(
                TunnelPart(
                    number: number, name: try reader.text(),
                    queueCount: Int(try reader.uint16()),
                    listenerPath: try reader.text(byteCountMax: 4_096)))
        }
    }
}
