import LinuxNetworking
import Logging
import PacketFormats
import PacketMemory
import Telemetry
import WireGuardProtocol

/// Handshake messages, which the kernel delivers to a socket of their own, so that a flood of them
/// neither fills nor delays the data sockets.
extension Tunnel {
    func receiveHandshakes() {
        guard let socket = sockets?.controlSocket else { return }
        let count = socket.receive(handshakes, limit: EngineLimits.handshakesPerPass)
        guard count > 0 else { return }
        let now = Clock.monotonicNanoseconds()
        let waiting = (0..<count).reduce(0) { $0 + datagramCount(ofMessage: $1) }
        if waiting >= EngineLimits.handshakesWaitingUnderLoad {
            underLoadUntil = now + EngineLimits.underLoadNanoseconds
        }
        for index in 0..<count { receiveMessage(index, now) }
        flushHandshakes()
        if now < underLoadUntil { pauseHandshakes(socket, now) }
    }

    /// Lets handshake messages gather for a moment: under load, waking up for each would cost the
    /// tunnel more than answering them.
    private func pauseHandshakes(_ socket: UDPSocket, _ now: UInt64) {
        try? loop.modify(socket.fileDescriptor, token: Self.handshakeToken, events: [])
        handshakePauseEnd = now + EngineLimits.handshakePauseNanoseconds
    }

    func resumeHandshakes() {
        guard let end = handshakePauseEnd, end <= Clock.monotonicNanoseconds() else { return }
        handshakePauseEnd = nil
        guard let socket = sockets?.controlSocket else { return }
        try? loop.modify(
            socket.fileDescriptor, token: Self.handshakeToken, events: .readable)
        receiveHandshakes()
    }

    private func datagramCount(ofMessage index: Int) -> Int {
        let segment = handshakes.segmentByteCount(index)
        guard segment > 0 else { return 1 }
        return (handshakes.region(index).count + segment - 1) / segment
    }

    /// One datagram, or a run of equal ones that the kernel coalesced.
    private func receiveMessage(_ index: Int, _ now: UInt64) {
        let message = handshakes.region(index)
        guard !handshakes.isTruncated(index) else { return handshakeDrops.add(.wrongLength) }
        let segment = handshakes.segmentByteCount(index)
        var offset = 0
        repeat {
            let rest = message.count - offset
            let count = segment > 0 ? min(segment, rest) : rest
            receiveHandshake(
                message.region(at: offset, count: count), from: handshakes.source(index),
                at: handshakes.localAddress(index), now: now)
            offset += count
        } while offset < message.count
    }

    /// One that arrived on a data socket.
    func receiveHandshake(_ bytes: [UInt8], from source: Endpoint, at local: LocalAddress?) {
        // One that waited while the interface went down would make a session that is down, too.
        guard sockets != nil else { return }
        ByteArena.withCopy(of: bytes) {
            receiveHandshake($0, from: source, at: local, now: Clock.monotonicNanoseconds())
        }
        flushHandshakes()
    }

    private func receiveHandshake(
        _ message: ByteRegion, from source: Endpoint, at local: LocalAddress?, now: UInt64
    ) {
        if isData(message) { return pass(message, now: now) }
        let outcome = device.receive(
            message, from: source, now: now, wallClock: WallClock.now,
            isUnderLoad: now < underLoadUntil)
        if case .dropped(let reason) = outcome { handshakeDrops.add(reason) }
        if outcome.isSuspect, !handshakeBudget.take(now: now) {
            underLoadUntil = now + EngineLimits.underLoadNanoseconds
        }
        perform(answering: source, from: local)
    }

    private func isData(_ message: ByteRegion) -> Bool {
        message.count >= WireGuardMessage.TransportData.overhead
            && message.littleEndian32(at: 0) == WireGuardMessage.Kind.transportData.rawValue
    }

    /// Gives data to the worker that has its session: the kernel steers a run that it coalesced by
    /// its first datagram, and that was a handshake message.
    private func pass(_ message: ByteRegion, now: UInt64) {
        guard strayBudget.take(now: now) else { return handshakeDrops.add(.misdirectedData) }
        let index = message[WireGuardMessage.TransportData.receiverIndexOffset]
        workers[Int(index) % workers.count].post([.receive(message.bytes)])
    }

    /// Queues a handshake message; sends at once when the batch is full.
    func send(_ message: HandshakeMessage, to endpoint: Endpoint, from local: LocalAddress?) {
        guard let family = sockets?.family,
            let destination = Destination(endpoint, family: family, source: local)
        else { return }
        handshakeOutgoing.append(message, to: destination)
        if handshakeOutgoing.isFull { flushHandshakes() }
    }

    func flushHandshakes() {
        guard let socket = sockets?.controlSocket else { return handshakeOutgoing.reset() }
        let failed = handshakeOutgoing.flush(
            on: socket, trafficClass: options.handshakeTrafficClass)
        if failed > 0 { log.trace("\(failed) handshake messages could not be sent") }
    }
}

extension ReceiveOutcome {
    /// Whether somebody who knows our public key, but is no peer, had it answered or refused: then
    /// only a cookie can keep it from costing multiplications. Handshakes that succeed are what the
    /// gateway is there for. What needs no knowledge of our key, as a forged cookie reply, costs no
    /// multiplication, and who sends it must not make newcomers fetch a cookie first.
    fileprivate var isSuspect: Bool {
        switch self {
        case .accepted: false
        case .dropped(let reason): reason.isAfterMAC1
        }
    }
}

/// Handshake messages that leave with one sendmmsg call.
struct HandshakeOutbox {
    private let memory = ByteArena(
        count: EngineLimits.handshakesPerPass * HandshakeOutbox.messageBytesMax)
    private let batch = SendBatch(capacity: EngineLimits.handshakesPerPass)
    private var pending: [(byteCount: Int, destination: Destination)] = []

    /// An initiation is the longest: 148 bytes, rounded up to whole cache lines.
    private static let messageBytesMax = 192

    var isFull: Bool { pending.count == EngineLimits.handshakesPerPass }

    mutating func append(_ message: HandshakeMessage, to destination: Destination) {
        guard !isFull else { return }
        let place = memory.whole.region(
            at: pending.count * Self.messageBytesMax, count: Self.messageBytesMax)
        pending.append((message.write(to: place).count, destination))
    }

    mutating func reset() {
        pending.removeAll(keepingCapacity: true)
        batch.removeAll()
    }

    /// - Returns: How many messages could not be sent. They are not kept: the handshake's own
    ///   retries replace them.
    mutating func flush(on socket: UDPSocket, trafficClass: UInt8) -> Int {
        guard !pending.isEmpty else { return 0 }
        for (index, message) in pending.enumerated() {
            _ = batch.append(
                region: memory.whole.region(
                    at: index * Self.messageBytesMax, count: message.byteCount),
                segmentByteCount: 0, to: message.destination, trafficClass: trafficClass)
        }
        let total = pending.count
        let sent = max(0, batch.flush(on: socket))
        reset()
        return total - sent
    }
}
