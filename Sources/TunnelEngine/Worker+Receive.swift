import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Worker {
    /// Empties the socket, delivers all that is small to the TUN device, then one piece of bulk.
    ///
    /// - Returns: `true` if there was a message or bulk that waits.
    mutating func receive() -> Bool {
        if let socket {
            let messageCount = received.fill(
                from: socket, limit: EngineLimits.messagesPerReceive)
            if messageCount > 0 { count(.socketReceives, messageCount) }
        }
        guard !received.isEmpty else { return false }
        now = Clock.monotonicNanoseconds()
        // A session must be known before its first datagram is looked up: see WorkerLink.post.
        applyCommands()
        receiveSmall()
        receiveBulk()
        return true
    }

    /// Opens all small messages; the bulk that arrived before them goes to the backlog.
    private mutating func receiveSmall() {
        while received.hasSmall, let message = received.nextUnopened() {
            receiveMessage(message, isLast: false)
        }
        deliver()
    }

    /// Delivers bulk, message by message and in the order of arrival, until that was enough for one
    /// pass.
    private mutating func receiveBulk() {
        var budget = EngineLimits.bulkBytesPerPass
        while budget > 0 {
            if let message = received.nextMessage {
                noteSojourn(message)
                while received.nextMessage == message, let packet = received.next() {
                    deliverBulk(packet)
                }
                budget -= received.size(of: message)
            } else if let message = received.nextUnopened() {
                noteSojourn(message)
                receiveMessage(message, isLast: true)
                budget -= received.size(of: message)
            } else {
                break
            }
        }
        deliver()
    }

    /// Takes one message apart: a datagram, or a run of equal ones that the kernel coalesced.
    ///
    /// - Parameter isLast: Nothing behind it may pass.
    private mutating func receiveMessage(_ number: Int, isLast: Bool) {
        let (batch, index) = (received.batch, received.index(of: number))
        guard !batch.isTruncated(index) else { return count(.datagramTruncated) }
        let bytes = batch.region(index)
        let segmentBytes = batch.segmentByteCount(index)
        var context = MessageContext(
            number: number, index: index, outerECN: batch.outerECN(index),
            isBulk: !received.isSmall(number), isLast: isLast)
        guard segmentBytes > 0 && segmentBytes < bytes.count else {
            count(.datagramsReceived)
            receiveDatagram(bytes, &context)
            return noteReceived(&context)
        }
        let datagramCount = (bytes.count + segmentBytes - 1) / segmentBytes
        count(.datagramsReceived, datagramCount)
        var offset = 0
        while offset < bytes.count {
            let byteCount = min(segmentBytes, bytes.count - offset)
            receiveDatagram(bytes.region(at: offset, count: byteCount), &context)
            offset += byteCount
        }
        noteReceived(&context)
    }

    /// Takes a datagram that came by way of the control thread, inside a run that began with a
    /// handshake message. Where it came from is left to others to say.
    mutating func receiveStray(_ bytes: [UInt8]) {
        count(.datagramsReceived)
        ByteArena.withCopy(of: bytes) { datagram in
            var context = MessageContext(
                number: -1, index: nil, outerECN: .notECT, isBulk: false, isLast: true)
            receiveDatagram(datagram, &context)
            noteReceived(&context)
            deliver()
        }
    }

    /// Steps: find the session, decrypt, replay check, source check, then timers and endpoint, ECN,
    /// coalesce.
    ///
    /// Only the confirmation of a session comes before the source check: it says that the peer has
    /// the keys, whatever is inside. The initiator's first packet may have a source that is not
    /// allowed, as a router solicitation from a link-local address, and no keepalive goes with it.
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
        guard !context.isPlaceKnown, let index = context.index else { return }
        context.isPlaceKnown = true
        guard peers.contains(session.peer) else { return }
        let batch = received.batch
        if let known = peers[session.peer].destination, known.matches(batch, index) { return }
        // The peer has moved here once the control thread knows, too; until then its next datagram
        // says so again.
        guard roamingBudget.take(now: now),
            post(.roamed(session.peer, batch.source(index), batch.localAddress(index)))
        else { return }
        peers[session.peer].destination = Destination(replyingTo: batch, message: index)
    }

    private mutating func receivePacket(
        _ packet: IPPacket, _ context: inout MessageContext
    ) {
        if context.outerECN != .notECT {
            switch ECN.decapsulate(inner: packet.ecn, outer: context.outerECN) {
            case .keep: break
            case .set(let ecn): packet.ecn = ecn
            case .drop: return count(.ecnDrop)
            }
        }
        if context.isLast { return deliverBulk(packet.region) }
        guard context.isBulk || !received.backlogIsEmpty else { return coalesce(packet.region) }
        let flow = flowHash(of: packet.region, seed: flowSeed)
        guard context.isBulk || received.mustWait(flow: flow) else {
            return coalesce(packet.region)
        }
        while received.backlogIsFull, let oldest = received.next() { deliverBulk(oldest) }
        received.append(packet.region, of: context.number, flow: flow)
    }

    private mutating func deliverBulk(_ packet: ByteRegion) {
        if !owesSignal || bearsSignal(packet) { coalesce(packet) }
    }

    private mutating func coalesce(_ packet: ByteRegion) {
        if !coalescer.add(packet) {
            deliver()
            _ = coalescer.add(packet)
        }
    }

    /// Lets a packet bear the receive queue's signal to slow down, if it is large enough:
    /// acknowledgements and token events never do.
    ///
    /// - Returns: `false` if the packet was dropped to say so.
    private mutating func bearsSignal(_ region: ByteRegion) -> Bool {
        guard region.count >= Self.signalPacketBytes, let packet = IPPacket(region) else {
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

    private static var signalPacketBytes: Int { 512 }

    /// Tells the controller how long a message has waited for its delivery.
    private mutating func noteSojourn(_ message: Int) {
        let arrival = received.batch.arrivalNanoseconds(received.index(of: message))
        guard arrival != 0 else { return }
        let arrivalNow = Clock.realtimeNanoseconds()
        // What waits for a worker without a queue behind it cannot be helped by slowing down.
        let isStanding = received.byteCount >= EngineLimits.standingQueueBytes
        let sojourn = isStanding && arrivalNow > arrival ? arrivalNow - arrival : 0
        if receiveQueue.left(sojournNanoseconds: sojourn, now: now) {
            owesSignal = true
        } else if sojourn < receiveQueue.targetNanoseconds {
            // Found no packet to bear it while the queue stood: the next one is not to blame.
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
    private mutating func forwardHandshake(_ datagram: ByteRegion, _ index: Int?) {
        switch WireGuardMessage.type(of: datagram) {
        case .message(.transportData): break
        case .message(.initiation), .message(.response), .message(.cookieReply):
            guard let index, strayBudget.take(now: now) else { return count(.inboxFull) }
            post(
                .handshakeMessage(
                    datagram.bytes, received.batch.source(index),
                    received.batch.localAddress(index)))
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
            let packetCount = coalescer.segmentCount(ofRun: index)
            if written < 0 {
                count(.tunWriteFailed, packetCount)
            } else {
                count(.tunWrites)
                count(.packetsWritten, packetCount)
            }
        }
        coalescer.reset()
    }
}

/// What the datagrams of one received message have in common.
struct MessageContext {
    let number: Int
    /// Place in the batch; `nil` for what came another way.
    let index: Int?
    let outerECN: ECN
    let isBulk: Bool
    /// It is delivered at once: nothing that arrived later may pass it.
    let isLast: Bool
    var session: Session?
    /// Authenticated bytes under `session`.
    var byteCount = 0
    var hasData = false
    /// The endpoint was compared with the peer's.
    var isPlaceKnown = false

    init(number: Int, index: Int?, outerECN: ECN, isBulk: Bool, isLast: Bool) {
        self.number = number
        self.index = index
        self.outerECN = outerECN
        self.isBulk = isBulk
        self.isLast = isLast
    }

    mutating func forgetSession() {
        session = nil
        byteCount = 0
        hasData = false
        isPlaceKnown = false
    }
}
