import Cryptography
import LinuxNetworking
import Logging
import PacketFormats
import PacketMemory
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

/// Handshake messages, which the kernel delivers to a socket of their own, so that a flood of them
/// neither fills nor delays the data sockets.
extension Engine {
    /// Works on about as many datagrams as one pass may, on those first that the last one left.
    func receiveHandshakes() {
        guard let socket = sockets?.controlSocket else { return }
        if handshakesLeft.isEmpty {
            let count = socket.receive(handshakes, limit: EngineLimits.handshakesPerPass)
            handshakesLeft = 0..<max(count, 0)
        }
        guard !handshakesLeft.isEmpty else { return }
        let now = Clock.monotonicNanoseconds()
        let waiting = handshakesLeft.reduce(0) { $0 + datagramCount(ofMessage: $1) }
        if waiting >= EngineLimits.handshakesWaitingUnderLoad {
            underLoadUntil = now + EngineLimits.underLoadNanoseconds
        }
        // Each message may be a run of many datagrams; the last one that is begun is ended.
        var room = EngineLimits.handshakesPerPass
        while room > 0, let index = handshakesLeft.popFirst() {
            room -= datagramCount(ofMessage: index)
            receiveMessage(index, now)
        }
        flushHandshakes()
        let isUnderLoad = now < underLoadUntil
            || tunnels.values.contains { now < $0.underLoadUntil }
        // The socket does not tell of what was left: the end of a pause does.
        if isUnderLoad || !handshakesLeft.isEmpty { pauseHandshakes(socket, now) }
    }

    /// Lets handshake messages gather for a moment: under load, waking up for each would cost the
    /// tunnel more than answering them.
    private func pauseHandshakes(_ socket: UDPSocket, _ now: UInt64) {
        try? loop.modify(socket.fileDescriptor, token: EventSource.handshakes.token, events: [])
        handshakePauseEnd = now + EngineLimits.handshakePauseNanoseconds
    }

    func resumeHandshakes() {
        guard let end = handshakePauseEnd, end <= Clock.monotonicNanoseconds() else { return }
        handshakePauseEnd = nil
        guard let socket = sockets?.controlSocket else { return }
        try? loop.modify(
            socket.fileDescriptor, token: EventSource.handshakes.token, events: .readable)
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
        if WireGuardMessage.isTransportData(message) { return pass(message, now: now) }
        switch addressee(of: message, from: source) {
        case .tunnel(let tunnel):
            tunnel.receiveHandshake(message, from: source, at: local, now: now)
        case .nobody(let reason):
            handshakeDrops.add(reason)
        }
    }

    private enum Addressee {
        case tunnel(Tunnel)
        case nobody(DropReason)
    }

    /// Whose message it is: by the key that it was made for, or by the index that it answers.
    private func addressee(of message: ByteRegion, from source: Endpoint) -> Addressee {
        if let onlyTunnel { return .tunnel(onlyTunnel) }
        switch WireGuardMessage.type(of: message) {
        case .message(.initiation):
            guard let number = keys.find(message, hint: keyHints[source.address]),
                let tunnel = tunnels[number]
            else { return .nobody(.invalidMAC1) }
            keyHints.note(number, for: source.address)
            return .tunnel(tunnel)
        case .message(.response):
            return owner(
                ofIndexAt: WireGuardMessage.Response.receiverIndexOffset, message,
                orElse: .unknownReceiverIndex)
        case .message(.cookieReply):
            return owner(
                ofIndexAt: WireGuardMessage.CookieReply.receiverIndexOffset, message,
                orElse: .cookieReplyWithoutRequest)
        case .message(.transportData): return .nobody(.misdirectedData)
        case .invalid(.unknownType): return .nobody(.unknownType)
        case .invalid(.tooShort), .invalid(.wrongLength): return .nobody(.wrongLength)
        }
    }

    /// Refuses a key that another tunnel has: nobody could tell whose initiations are whose.
    func checkKey(_ key: PublicKey?, of tunnel: Tunnel) throws(UAPIError) {
        guard let key, let owner = keys.owner(of: key), owner != tunnel.number else { return }
        throw UAPIError(.invalid, "private_key is that of another tunnel of this gateway")
    }

    /// Takes note of a tunnel's key, or that it has none any more.
    func noteKey(of tunnel: Tunnel) {
        guard let key = tunnel.device.publicKey else { return keys.remove(tunnel.number) }
        _ = keys.set(key, for: tunnel.number)
    }

    private func owner(
        ofIndexAt offset: Int, _ message: ByteRegion, orElse reason: DropReason
    ) -> Addressee {
        let index = message.littleEndian32(at: offset)
        guard let number = indices.tunnel(of: index), let tunnel = tunnels[number] else {
            return .nobody(reason)
        }
        return .tunnel(tunnel)
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

extension Tunnel {
    /// Takes a handshake message that was made for this tunnel's key, or answers one of its own.
    func receiveHandshake(
        _ message: ByteRegion, from source: Endpoint, at local: LocalAddress?, now: UInt64
    ) {
        // One that waited while the interface went down would make a session that is down, too.
        guard settings.isUp || !engine.isShared else {
            return handshakeDrops.add(.noPrivateKey)
        }
        // Beyond the limit a cookie comes first: forged addresses must not keep branches out.
        var isUnderLoad = now < max(underLoadUntil, engine.underLoadUntil)
        if !isUnderLoad, !mayHandshake(now) {
            underLoadUntil = now + EngineLimits.underLoadNanoseconds
            isUnderLoad = true
        }
        let outcome = device.receive(
            message, from: source, now: now, wallClock: WallClock.now, isUnderLoad: isUnderLoad,
            maySpend: { mayHandshake(now) })
        if case .dropped(let reason) = outcome { handshakeDrops.add(reason) }
        if outcome.isSuspect, !handshakeBudget.take(now: now) {
            underLoadUntil = now + EngineLimits.underLoadNanoseconds
        }
        perform(answering: source, from: local)
    }

    /// Takes a handshake from the tenant's limit, where there is one.
    private func mayHandshake(_ now: UInt64) -> Bool {
        guard handshakeLimit?.take(now: now) == false else { return true }
        counters[0].events.add(.handshakeLimited)
        return false
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

    private static let messageBytesMax = ImplementationLimits.handshakeMessageRoom

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
