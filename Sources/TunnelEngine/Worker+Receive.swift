import AccessControl
import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Worker {
    /// Empties the sockets, delivers all that is small to TUN devices, then one piece of bulk.
    ///
    /// - Returns: `true` if there was a message or bulk that waits.
    mutating func receive() -> Bool {
        if finishBy == nil { fillReceiveQueue() }
        guard !received.isEmpty else { return false }
        now = Clock.monotonicNanoseconds()
        // A session must be known before its first datagram is looked up: see WorkerLink.post.
        applyCommands()
        if received.unopened.count > 1 { fetchSessions() }
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
        while budget > 0, let byteCount = receiveNext() { budget -= byteCount }
        // A full TSO frame has a few more segments than one send carries. They come in a message of
        // their own, and with it the device gets the frame whole again: one write, one
        // acknowledgement.
        if let byteCount = received.nextByteCount, byteCount <= EngineLimits.trainTailBytes {
            _ = receiveNext()
        }
        deliver()
    }

    /// Gathers what the oldest message brought.
    ///
    /// - Returns: Its bytes; `nil` if there is none.
    private mutating func receiveNext() -> Int? {
        if let message = received.nextMessage {
            noteSojourn(message)
            while received.nextMessage == message, let packet = received.next() {
                deliverBulk(packet.region, of: packet.tunnel, lane: received.lane(of: message))
            }
            return received.size(of: message)
        }
        guard let message = received.nextUnopened() else { return nil }
        noteSojourn(message)
        receiveMessage(message, isLast: true)
        return received.size(of: message)
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
            number: number, index: index, lane: received.lane(of: number),
            outerECN: batch.outerECN(index), isBulk: !received.isSmall(number), isLast: isLast)
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
            // It waited in no lane, and is not to bear the signal of one.
            var context = MessageContext(
                number: -1, index: nil, lane: .max, outerECN: .notECT, isBulk: false, isLast: true)
            receiveDatagram(datagram, &context)
            noteReceived(&context)
            deliver()
        }
    }

    /// Steps: find the session, and by it the tunnel; decrypt, replay check, source check, then
    /// timers and endpoint, limits, access rules, marks and measures, ECN, coalesce.
    ///
    /// Only the confirmation of a session comes before the source check: it says that the peer has
    /// the keys, whatever is inside. The initiator's first packet may have a source that is not
    /// allowed, as a router solicitation from a link-local address, and no keepalive goes with it.
    private mutating func receiveDatagram(_ datagram: ByteRegion, _ context: inout MessageContext) {
        guard WireGuardMessage.isTransportData(datagram) else {
            return forwardHandshake(datagram, context.index)
        }
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
        let tunnel = session.tunnel
        guard tunnels.contains(tunnel), session.isUsableForReceiving(now: now) else {
            return count(.sessionExpired)
        }
        let counter = datagram.littleEndian64(at: WireGuardMessage.TransportData.counterOffset)
        guard let plaintext = session.open(datagram: datagram, with: cipher) else {
            return count(session.refusal(of: datagram), of: tunnel)
        }
        guard session.acceptCounter(counter) else { return count(.replayed, of: tunnel) }
        if !session.isConfirmed { confirm(session) }
        if plaintext.count == 0 { return accept(session, datagram.count, &context) }
        if session.profile.family == .branchline, ControlFrames.isControl(plaintext) {
            guard let frames = ControlFrames(plaintext) else {
                return count(.innerMalformed, of: tunnel)
            }
            accept(session, datagram.count, &context, isControl: true)
            return receiveFrames(
                frames, of: session, datagramByteCount: datagram.count, at: context.index)
        }
        guard let packet = IPPacket(plaintext) else {
            return count(.innerMalformed, of: tunnel)
        }
        let owner = tunnels[tunnel].routes.peer(forSourceOf: packet)
        guard tunnels[tunnel].routes.owner(owner, includes: session.peer) else {
            return count(.sourceNotAllowed, of: tunnel)
        }
        accept(session, datagram.count, &context)
        context.hasData = true
        if let marks = tunnels[tunnel].probeMarks, marks.matches(packet) {
            return handOn(packet, of: tunnel, from: session.peer)
        }
        if let meters = tunnels[tunnel].inwardMeters,
            !meters.take(byteCount: packet.region.count, now: now)
        {
            return count(.rateLimited, of: tunnel)
        }
        if let access = tunnels[tunnel].access, access.judge(packet, now: now) != .allowed {
            return count(.accessDenied, of: tunnel)
        }
        takeNote(of: packet, from: session.peer, of: tunnel)
        receivePacket(packet, of: tunnel, &context)
    }

    /// Gives an answer to a probe to whoever asked; more than anybody asks for is nobody's.
    private mutating func handOn(_ packet: IPPacket, of tunnel: TunnelID, from peer: PeerID) {
        guard tunnels[tunnel].answerBudget.take(now: now) else {
            return count(.inboxFull, of: tunnel)
        }
        post(.answer(tunnel, peer, packet.region.bytes, now))
    }

    /// The peer has the keys of a session that this side answered: send with it from now on. The
    /// control thread tells the other workers, and this one if it decides otherwise.
    private mutating func confirm(_ session: Session) {
        guard session.confirm() else { return }
        let tunnel = session.tunnel
        if tunnels[tunnel].peers.contains(session.peer) {
            tunnels[tunnel].peers[session.peer].session = session
            tunnels[tunnel].peers[session.peer].next = nil
        }
        post(.confirmed(session))
    }

    /// What only an authenticated, fresh datagram of an allowed source may change: the timers' view
    /// of the peer, and its endpoint.
    private mutating func accept(
        _ session: Session, _ byteCount: Int, _ context: inout MessageContext,
        isControl: Bool = false
    ) {
        context.byteCount += byteCount
        if !isControl { context.mayRenewKeys = true }
        guard !context.isPlaceKnown, let index = context.index else { return }
        context.isPlaceKnown = true
        let (tunnel, peer) = (session.tunnel, session.peer)
        guard tunnels[tunnel].peers.contains(peer) else { return }
        let batch = received.batch
        if let known = tunnels[tunnel].peers[peer].destination, known.matches(batch, index) {
            return
        }
        // The peer has moved here once the control thread knows, too; until then its next datagram
        // says so again.
        guard tunnels[tunnel].roamingBudget.take(now: now),
            post(.roamed(tunnel, peer, batch.source(index), batch.localAddress(index)))
        else { return }
        tunnels[tunnel].peers[peer].destination = Destination(
            replyingTo: batch, message: index)
    }

    private mutating func receivePacket(
        _ packet: IPPacket, of tunnel: TunnelID, _ context: inout MessageContext
    ) {
        if context.outerECN != .notECT {
            switch ECN.decapsulate(inner: packet.ecn, outer: context.outerECN) {
            case .keep: break
            case .set(let ecn): packet.ecn = ecn
            case .drop: return count(.ecnDrop, of: tunnel)
            }
        }
        if context.isLast { return deliverBulk(packet.region, of: tunnel, lane: context.lane) }
        guard context.isBulk || !received.backlogIsEmpty else {
            return coalesce(packet.region, of: tunnel)
        }
        // Tenants may have the same addresses: one's small packets do not wait for another's bulk.
        let flow = flowHash(of: packet, seed: flowSeed &+ UInt32(bitPattern: tunnel))
        guard context.isBulk || received.mustWait(flow: flow) else {
            return coalesce(packet.region, of: tunnel)
        }
        while received.backlogIsFull, let message = received.nextMessage,
            let oldest = received.next()
        {
            deliverBulk(oldest.region, of: oldest.tunnel, lane: received.lane(of: message))
        }
        received.append(packet.region, of: context.number, flow: flow, tunnel: tunnel)
    }

    private mutating func deliverBulk(_ packet: ByteRegion, of tunnel: TunnelID, lane: Int) {
        guard tunnel != ReceiveQueue.nobody else { return }
        guard lane < lanes.count, lanes[lane].owesSignal else {
            return coalesce(packet, of: tunnel)
        }
        if bearsSignal(packet, of: tunnel, lane: lane) { coalesce(packet, of: tunnel) }
    }

    /// Gathers a packet for its tunnel's device; what is of another tunnel is delivered first.
    private mutating func coalesce(_ packet: ByteRegion, of tunnel: TunnelID) {
        if coalescing != tunnel {
            deliver()
            guard tunnels.contains(tunnel) else { return }
            coalescing = tunnel
            coalescer.offloads = tunnels[tunnel].coalescing
        }
        if !coalescer.add(packet) {
            deliver()
            _ = coalescer.add(packet)
        }
    }

    /// Lets a packet bear the receive queue's signal to slow down, if it is large enough:
    /// acknowledgements and token events never do.
    ///
    /// - Returns: `false` if the packet was dropped to say so.
    private mutating func bearsSignal(
        _ region: ByteRegion, of tunnel: TunnelID, lane: Int
    ) -> Bool {
        guard region.count >= Self.signalPacketBytes, let packet = IPPacket(region) else {
            return true
        }
        lanes[lane].owesSignal = false
        guard packet.markCE() else {
            count(.earlyDrop, of: tunnel)
            return false
        }
        count(.earlyMark, of: tunnel)
        return true
    }

    private static var signalPacketBytes: Int { 512 }

    /// Tells the controller how long a message has waited for its delivery.
    private mutating func noteSojourn(_ message: Int) {
        let lane = received.lane(of: message)
        guard lane < lanes.count, var sojourn = self.sojourn(received.index(of: message))
        else { return }
        if sojourn >= lanes[lane].controller.targetNanoseconds, !isStanding(lane) { sojourn = 0 }
        if lanes[lane].controller.left(sojournNanoseconds: sojourn, now: now) {
            lanes[lane].owesSignal = true
        } else if sojourn < lanes[lane].controller.targetNanoseconds {
            // Found no packet to bear it while the queue stood: the next one is not to blame.
            lanes[lane].owesSignal = false
        }
    }

    /// How long a message has been on this machine, in nanoseconds, by the kernel's stamp; `nil`
    /// without one, 0 where the clock was set back.
    mutating func sojourn(_ index: Int) -> UInt64? {
        let arrival = received.batch.arrivalNanoseconds(index)
        guard arrival != 0 else { return nil }
        let now = Clock.realtimeNanoseconds()
        return now > arrival ? now - arrival : 0
    }

    /// Whether a queue stands behind what a lane delivers. What waits for a worker without a queue
    /// behind it cannot be helped by slowing down: it may wait for the worker to serve others.
    ///
    /// With lanes, what a lane may not take in yet stands in its socket.
    private mutating func isStanding(_ lane: Int) -> Bool {
        guard sources != nil else { return received.byteCount >= EngineLimits.standingQueueBytes }
        return lanes[lane].socket.waitingByteCount ?? 0 >= EngineLimits.standingQueueBytes
    }

    /// Reports what one session received in this message to the peer's timers.
    private mutating func noteReceived(_ context: inout MessageContext) {
        defer { context.forgetSession() }
        guard let session = context.session, context.byteCount > 0,
            tunnels.contains(session.tunnel),
            tunnels[session.tunnel].peers.contains(session.peer),
            let activity = tunnels[session.tunnel].peers[session.peer].activity
        else { return }
        if activity.packetReceived(
            isData: context.hasData, byteCount: context.byteCount, now: now)
        {
            post(.attention(session.tunnel, session.peer))
        }
        if context.mayRenewKeys, session.needsRekeyAfterReceiving(now: now) {
            requestHandshake(session.peer, of: session.tunnel)
        }
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

    /// Writes the gathered packets to their TUN device, runs of one flow as one frame.
    mutating func deliver() {
        let runCount = coalescer.runCount
        guard runCount > 0, tunnels.contains(coalescing) else { return coalescer.reset() }
        let (tun, hasVirtioHeader) = (
            tunnels[coalescing].tun, tunnels[coalescing].hasVirtioHeader
        )
        for index in 0..<runCount {
            let regions = coalescer.prepare(run: index)
            let written =
                hasVirtioHeader
                ? tun.write(regions)
                : tun.write(regions[0].region(from: VirtioNetHeader.count))
            let packetCount = coalescer.segmentCount(ofRun: index)
            if written < 0 {
                count(.tunWriteFailed, packetCount, of: coalescing)
            } else {
                count(.tunWrites, of: coalescing)
                count(.packetsWritten, packetCount, of: coalescing)
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
    let lane: Int
    let outerECN: ECN
    let isBulk: Bool
    /// It is delivered at once: nothing that arrived later may pass it.
    let isLast: Bool
    var session: Session?
    /// Authenticated bytes under `session`.
    var byteCount = 0
    var hasData = false
    /// There was more than control frames.
    var mayRenewKeys = false
    /// The endpoint was compared with the peer's.
    var isPlaceKnown = false

    init(number: Int, index: Int?, lane: Int, outerECN: ECN, isBulk: Bool, isLast: Bool) {
        self.number = number
        self.index = index
        self.lane = lane
        self.outerECN = outerECN
        self.isBulk = isBulk
        self.isLast = isLast
    }

    mutating func forgetSession() {
        session = nil
        byteCount = 0
        hasData = false
        mayRenewKeys = false
        isPlaceKnown = false
    }
}
