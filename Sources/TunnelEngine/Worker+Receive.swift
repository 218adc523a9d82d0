import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Worker {
    /// Receives a batch of messages and delivers what they carry to the TUN device.
    ///
    /// - Returns: `true` if there was a message.
    mutating func receive() -> Bool {
        guard let socket else { return false }
        let messageCount = socket.receive(receives, limit: receiveLimit)
        guard messageCount > 0 else { return false }
        now = Clock.monotonicNanoseconds()
        // A session must be known before its first datagram is looked up: see WorkerLink.post.
        applyCommands()
        let arrivalNow = Clock.realtimeNanoseconds()
        var byteCount = 0
        for index in 0..<messageCount {
            byteCount += receives.region(index).count
            receiveMessage(index, arrivalNow)
        }
        deliver()
        count(.socketReceives, messageCount)
        receiveLimit =
            byteCount / messageCount > EngineLimits.largeMessageBytes
            ? EngineLimits.largeMessagesPerPass : EngineLimits.messagesPerPass
        return true
    }

    /// Takes one message apart: a datagram, or a run of equal ones that the kernel coalesced.
    private mutating func receiveMessage(_ index: Int, _ arrivalNow: UInt64) {
        guard !receives.isTruncated(index) else { return count(.datagramTruncated) }
        let message = receives.region(index)
        let segmentBytes = receives.segmentByteCount(index)
        noteSojourn(receives.arrivalNanoseconds(index), arrivalNow)
        var context = MessageContext(index: index, outerECN: receives.outerECN(index))
        guard segmentBytes > 0 && segmentBytes < message.count else {
            count(.datagramsReceived)
            receiveDatagram(message, &context)
            return noteReceived(&context)
        }
        let datagramCount = (message.count + segmentBytes - 1) / segmentBytes
        count(.datagramsReceived, datagramCount)
        context.isBulk = datagramCount >= Self.bulkDatagramCount
        var offset = 0
        while offset < message.count {
            let byteCount = min(segmentBytes, message.count - offset)
            receiveDatagram(message.region(at: offset, count: byteCount), &context)
            offset += byteCount
        }
        noteReceived(&context)
    }

    /// A message of at least this many datagrams is bulk: only it is asked to slow down.
    private static var bulkDatagramCount: Int { 8 }

    /// Steps: find the session, decrypt, replay check, source check, then timers and endpoint, ECN,
    /// coalesce.
    private mutating func receiveDatagram(_ datagram: ByteRegion, _ context: inout MessageContext) {
        guard datagram.count >= WireGuardMessage.TransportData.overhead,
            datagram.littleEndian32(at: 0) == WireGuardMessage.Kind.transportData.rawValue
        else { return forwardHandshake(datagram, context.index) }
        let receiverIndex = datagram.littleEndian32(
            at: WireGuardMessage.TransportData.receiverIndexOffset)
        if context.session == nil || context.session!.localIndex != receiverIndex {
            noteReceived(&context)
            guard let session = sessions[receiverIndex] else {
                return count(.unknownReceiverIndex)
            }
            context.session = session
        }
        guard let session = context.session else { return }
        guard session.isUsableForReceiving(now: now) else { return count(.sessionExpired) }
        let counter = datagram.littleEndian64(at: WireGuardMessage.TransportData.counterOffset)
        guard let plaintext = session.open(datagram: datagram, with: cipher) else {
            return count(.authenticationFailed)
        }
        guard session.acceptCounter(counter) else { return count(.replayed) }
        if !session.isConfirmed { confirm(session) }
        if plaintext.count == 0 { return accept(session, datagram.count, &context) }
        guard let packet = IPPacket(plaintext) else { return count(.innerMalformed) }
        guard routes.peer(forSourceOf: packet) == session.peer else {
            return count(.sourceNotAllowed)
        }
        accept(session, datagram.count, &context)
        context.hasData = true
        receivePacket(packet, &context)
    }

    /// The peer has the keys of a session that this side answered: send with it from now on. The
    /// control thread tells the other workers, and this one if it decides otherwise.
    private mutating func confirm(_ session: Session) {
        guard session.confirm() else { return }
        if peers.contains(session.peer) {
            peers[session.peer].session = session
            peers[session.peer].next = nil
        }
        post(.confirmed(session))
    }

    /// What only an authenticated, fresh datagram of an allowed source may change: the timers' view
    /// of the peer, and its endpoint.
    private mutating func accept(
        _ session: Session, _ byteCount: Int, _ context: inout MessageContext
    ) {
        context.byteCount += byteCount
        guard !context.isPlaceKnown else { return }
        context.isPlaceKnown = true
        guard peers.contains(session.peer) else { return }
        if let known = peers[session.peer].destination, known.matches(receives, context.index) {
            return
        }
        // The peer has moved here once the control thread knows, too; until then its next datagram
        // says so again.
        let isKnown = post(
            .roamed(
                session.peer, receives.source(context.index),
                receives.localAddress(context.index)))
        guard isKnown else { return }
        peers[session.peer].destination = Destination(
            replyingTo: receives, message: context.index)
    }

    private mutating func receivePacket(
        _ packet: IPPacket, _ context: inout MessageContext
    ) {
        if context.outerECN != .notECT || owesSignal {
            guard applyECN(packet, &context) else { return }
        }
        if !coalescer.add(packet.region) {
            deliver()
            _ = coalescer.add(packet.region)
        }
    }

    /// RFC 6040 decapsulation, then the receive queue's own signal.
    ///
    /// - Returns: `false` if the packet was dropped.
    private mutating func applyECN(_ packet: IPPacket, _ context: inout MessageContext) -> Bool {
        switch ECN.decapsulate(inner: packet.ecn, outer: context.outerECN) {
        case .keep: break
        case .set(let ecn): packet.ecn = ecn
        case .drop:
            count(.ecnDrop)
            return false
        }
        guard owesSignal && context.isBulk && packet.totalCount >= Self.signalPacketBytes else {
            return true
        }
        owesSignal = false
        guard packet.markCE() else {
            count(.earlyDrop)
            return false
        }
        count(.earlyMark)
        return true
    }

    /// Acknowledgements and token events are smaller: they never bear the signal.
    private static var signalPacketBytes: Int { 512 }

    private mutating func noteSojourn(_ arrival: UInt64, _ arrivalNow: UInt64) {
        guard arrival != 0 else { return }
        let sojourn = arrivalNow > arrival ? arrivalNow - arrival : 0
        if receiveQueue.left(sojournNanoseconds: sojourn, now: now) {
            owesSignal = true
        } else if sojourn < receiveQueue.targetNanoseconds {
            // Found no bulk to bear it while the queue stood: the next bulk is not to blame.
            owesSignal = false
        }
    }

    /// Reports what one session received in this message to the peer's timers.
    private mutating func noteReceived(_ context: inout MessageContext) {
        defer { context.forgetSession() }
        guard let session = context.session, context.byteCount > 0,
            peers.contains(session.peer), let activity = peers[session.peer].activity
        else { return }
        if activity.packetReceived(
            isData: context.hasData, byteCount: context.byteCount, now: now)
        {
            post(.attention(session.peer))
        }
        if session.needsRekeyAfterReceiving(now: now) { requestHandshake(session.peer) }
    }

    /// A handshake message can only get here inside a coalesced run; the control thread takes it.
    private mutating func forwardHandshake(_ datagram: ByteRegion, _ index: Int) {
        switch WireGuardMessage.type(of: datagram) {
        case .message(.transportData): break
        case .message(.initiation), .message(.response), .message(.cookieReply):
            guard strayBudget.take(now: now) else { return count(.inboxFull) }
            post(
                .handshakeMessage(
                    datagram.bytes, receives.source(index), receives.localAddress(index)))
        case .invalid(.unknownType): count(DropReason.unknownType)
        case .invalid(.tooShort), .invalid(.wrongLength): count(DropReason.wrongLength)
        }
    }

    /// Writes the gathered packets to the TUN device, runs of one flow as one frame.
    private mutating func deliver() {
        let runCount = coalescer.runCount
        for index in 0..<runCount {
            let regions = coalescer.prepare(run: index)
            let written =
                hasVirtioHeader
                ? tun.write(regions)
                : tun.write(regions[0].region(from: VirtioNetHeader.count))
            if written < 0 { count(.tunWriteFailed, coalescer.segmentCount(ofRun: index)) }
        }
        guard runCount > 0 else { return }
        count(.tunWrites, runCount)
        count(.packetsWritten, coalescer.packetCount)
        coalescer.reset()
    }
}

/// What the datagrams of one received message have in common.
struct MessageContext {
    /// Place in the batch.
    let index: Int
    let outerECN: ECN
    var isBulk = false
    var session: Session?
    /// Authenticated bytes under `session`.
    var byteCount = 0
    var hasData = false
    /// The endpoint was compared with the peer's.
    var isPlaceKnown = false

    init(index: Int, outerECN: ECN) {
        self.index = index
        self.outerECN = outerECN
    }

    mutating func forgetSession() {
        session = nil
        byteCount = 0
        hasData = false
        isPlaceKnown = false
    }
}
