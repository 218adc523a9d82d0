import AccessControl
import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

extension Worker {
    /// Takes frames out of the scheduler and sends them, up to a budget.
    ///
    /// - Returns: `true` if a frame left, `false` if there was none or the socket is full.
    mutating func transmit() -> Bool {
        guard socket != nil else { return discardQueued() }
        guard flushSends() else { return false }
        var budget = EngineLimits.bulkBytesPerPass
        var didWork = false
        var holdsSparse = false
        while budget > 0, let next = queues.dequeue(now: now) {
            didWork = true
            if holdsSparse && !next.isSparse {
                // What is sparse does not wait until bulk has been encrypted.
                closeRun()
                _ = flushSends()
            }
            holdsSparse = next.isSparse
            budget -= frames.frame(next.slot).count
            if !transmitFrame(next, of: TunnelID(truncatingIfNeeded: next.tenant)) {
                queues.giveBack(next)
            }
            if run.end > EngineLimits.transmitBufferBytes - Self.frameWireBytesMax
                || sends.count + EngineLimits.sendsPerFrame > sends.capacity
            {
                closeRun()
                guard flushSends() else { break }
            }
        }
        closeRun()
        _ = flushSends()
        if didWork { link.noteSent(wireBytes: queues.wireBytesSent) }
        return didWork
    }

    /// The most that one frame can grow to: a header, padding and a tag for each segment.
    private static let frameWireBytesMax =
        EngineLimits.packetBytesMax
        + Segmenter.segmentCountMax
            * (Segmenter.headerCountMax + EngineLimits.frameTailBytes
                + WireGuardMessage.TransportData.overhead)

    /// Hands the built sends to the kernel.
    ///
    /// - Returns: `true` if all were taken and the transmit buffer is free again.
    private mutating func flushSends() -> Bool {
        guard let socket, sends.count > 0 else {
            run = DatagramRun()
            return true
        }
        let sent = sends.flush(on: socket)
        if sent > 0 { count(.socketSends, sent) }
        noteIncidents()
        watchForRoom(sends.count > 0)
        guard sends.count == 0 else { return false }
        run = DatagramRun()
        return true
    }

    /// Counts what could not be sent. A source address that the kernel refused is gone from this
    /// machine: the control thread lets the routing table choose.
    private mutating func noteIncidents() {
        for index in 0..<sends.incidentCount {
            let incident = sends.incident(index)
            if incident.isSentWithoutSource {
                post(.sourceRefused)
            } else {
                count(.sendFailed, incident.datagramCount)
            }
        }
    }

    /// - Returns: `false` if the frame did not leave: it waits for a session, or was dropped.
    private mutating func transmitFrame(_ departure: Departure, of tunnel: TunnelID) -> Bool {
        let slot = departure.slot
        guard tunnels[tunnel].isUp else { return drop(slot, .interfaceDown, of: tunnel) }
        let frame = frames.frame(slot)
        let packet = frame.region(from: VirtioNetHeader.count)
        guard let header = IPPacket(packet) else {
            count(DropReason.notIP, of: tunnel)
            frames.release(slot)
            return false
        }
        let peer = peer(for: header, of: tunnel)
        guard peer >= 0, tunnels[tunnel].peers.contains(peer) else {
            count(DropReason.noRoute, of: tunnel)
            return refuse(slot, packet, of: tunnel)
        }
        if let access = tunnels[tunnel].access, access.judge(header, now: now) != .allowed {
            count(.accessDenied, of: tunnel)
            return refuse(slot, packet, of: tunnel)
        }
        guard tunnels[tunnel].peers[peer].destination != nil else {
            count(DropReason.noEndpoint, of: tunnel)
            return refuse(slot, packet, of: tunnel)
        }
        if let next = tunnels[tunnel].peers[peer].next, next.isConfirmed {
            // Another worker heard from the peer under its new keys; what is answered to that must
            // not leave under keys that a restarted peer no longer has.
            tunnels[tunnel].peers[peer].session = next
            tunnels[tunnel].peers[peer].next = nil
        }
        guard let session = tunnels[tunnel].peers[peer].session,
            session.isUsableForSending(now: now)
        else { return wait(slot, for: peer, of: tunnel) }
        if departure.isSignalled, !bearsSignal(header, departure.trafficClass, of: tunnel) {
            frames.release(slot)
            return false
        }
        return seal(departure, frame, header, with: session)
    }

    /// Cuts a frame into packets and encrypts them; it is their class that outer headers show.
    private mutating func seal(
        _ departure: Departure, _ frame: ByteRegion, _ header: IPPacket, with session: Session
    ) -> Bool {
        let (tunnel, slot) = (session.tunnel, departure.slot)
        let outer = mark(header, departure.trafficClass, to: session.peer, of: tunnel)
        let packetMax = Int(tunnels[tunnel].peers[session.peer].packetMax)
        switch Segmenter.make(
            header: VirtioNetHeader(reading: frame),
            frame: frame.region(from: VirtioNetHeader.count),
            capacityAfter: EngineLimits.frameTailBytes,
            paddingLimit: min(tunnels[tunnel].mtu, packetMax))
        {
        case .invalid:
            return drop(slot, .invalidFrame, of: tunnel)
        case .segmenter(var segmenter):
            guard segmenter.firstPacketCount <= packetMax
                || fit(&segmenter, header, into: packetMax, of: tunnel)
            else { return drop(slot, .packetTooBig, of: tunnel) }
            let packetCount = segmenter.segmentCount
            guard let counter = session.reserveCounters(packetCount) else {
                return wait(slot, for: session.peer, of: tunnel)
            }
            encrypt(&segmenter, with: session, from: counter, trafficClass: outer)
            noteDeparture(departure, outer, packetCount: packetCount, to: session)
            frames.release(slot)
            return true
        }
    }

    /// Makes do with a path that carries less than the device's MTU, and tells the sender.
    ///
    /// - Returns: `false` if the frame cannot be sent. A TCP sender's is cut smaller, so that
    ///   nothing is lost while it learns; what routers may cut is left to them.
    private mutating func fit(
        _ segmenter: inout Segmenter, _ packet: IPPacket, into byteCount: Int, of tunnel: TunnelID
    ) -> Bool {
        let mtu = packet.version == 4 ? byteCount : max(byteCount, IPPacket.ipv6MTUMin)
        guard segmenter.firstPacketCount > mtu else { return true }
        if packet.mayBeFragmented {
            _ = segmenter.shorten(to: mtu)
            return true
        }
        if tunnels[tunnel].icmpBudget.take(now: now) {
            answer(packet.region, with: .tooBig(mtu: mtu), in: tunnel)
        }
        return segmenter.shorten(to: mtu)
    }

    /// Keeps a frame until its peer has a session, and asks for one.
    private mutating func wait(_ slot: Int32, for peer: PeerID, of tunnel: TunnelID) -> Bool {
        stage(slot, for: peer, of: tunnel)
        requestHandshake(peer, of: tunnel)
        return false
    }

    private mutating func drop(
        _ slot: Int32, _ reason: EngineCounter, of tunnel: TunnelID
    ) -> Bool {
        count(reason, of: tunnel)
        frames.release(slot)
        return false
    }

    /// The peer that a packet goes to; -1 for none. Of several that have its destination one, and
    /// always the same one for a flow while that works.
    mutating func peer(for packet: IPPacket, of tunnel: TunnelID) -> PeerID {
        let owner = tunnels[tunnel].routes.peer(forDestinationOf: packet)
        guard owner >= RoutingTable.firstGroup else { return owner }
        guard let group = tunnels[tunnel].routes.group(owner), let pins = tunnels[tunnel].pins
        else { return RoutingTable.none }
        return pins.flows.peer(
            forFlow: flowHash(of: packet, seed: flowSeed), to: group, now: now)
    }

    /// Seals each segment behind the last one in the transmit buffer.
    private mutating func encrypt(
        _ segmenter: inout Segmenter, with session: Session, from firstCounter: UInt64,
        trafficClass outer: UInt8
    ) {
        var counter = firstCounter
        var wireBytes = 0
        while let packet = segmenter.next() {
            let byteCount = packet.count + WireGuardMessage.TransportData.overhead
            let (owner, peer) = (session.tunnel, session.peer)
            if !run.accepts(byteCount, tunnel: owner, peer: peer, trafficClass: outer) {
                startRun(byteCount, tunnel: session.tunnel, peer: peer, trafficClass: outer)
            }
            let datagram = transmitBuffer.whole.region(at: run.end, count: byteCount)
            _ = session.seal(counter: counter, packet: packet, into: datagram, with: cipher)
            run.append(byteCount)
            wireBytes += byteCount
            counter &+= 1
        }
        let packetCount = Int(truncatingIfNeeded: counter &- firstCounter)
        count(.packetsRead, packetCount, of: session.tunnel)
        noteSent(session, isData: true, byteCount: wireBytes)
    }

    /// Tells the timers that something was sent, and asks for new keys in time.
    private mutating func noteSent(
        _ session: Session, isData: Bool, byteCount: Int, renewsKeys: Bool = true
    ) {
        let (tunnel, peer) = (session.tunnel, session.peer)
        guard let activity = tunnels[tunnel].peers[peer].activity else { return }
        if activity.packetSent(isData: isData, byteCount: byteCount, now: now) {
            post(.attention(tunnel, peer))
        }
        if renewsKeys, session.needsRekeyAfterSending(now: now) {
            requestHandshake(peer, of: tunnel)
        }
    }

    mutating func requestHandshake(_ peer: PeerID, of tunnel: TunnelID) {
        if let activity = tunnels[tunnel].peers[peer].activity, activity.requestHandshake() {
            post(.attention(tunnel, peer))
        }
    }

    /// Sends an empty packet, to confirm a session that this side initiated.
    mutating func sendKeepalive(to peer: PeerID, of tunnel: TunnelID) {
        sendSingle(0, to: peer, of: tunnel) { _ in }
    }

    /// Sends a packet that no device gave us, or begins a handshake and forgets it: a probe that
    /// waited would say nothing.
    mutating func inject(_ packet: [UInt8], to peer: PeerID, of tunnel: TunnelID) {
        guard socket != nil, tunnels[tunnel].isUp, tunnels[tunnel].peers.contains(peer),
            tunnels[tunnel].peers[peer].destination != nil
        else { return }
        guard tunnels[tunnel].peers[peer].session?.isUsableForSending(now: now) == true else {
            return requestHandshake(peer, of: tunnel)
        }
        let padded = WireGuardMessage.TransportData.paddedCount(packet.count, limit: .max)
        sendSingle(padded, to: peer, of: tunnel, isData: true) { plaintext in
            plaintext.fill(with: 0)
            ByteArena.withCopy(of: packet) { plaintext.copy(from: $0) }
        }
    }

    /// Sends one message at once, behind what the socket has no room for yet, or not at all.
    ///
    /// - Parameters:
    ///   - byteCount: Of the plaintext, padding included; 0 for a keepalive.
    ///   - mayBeFragmented: Without, it leaves with Don't Fragment, and only if nothing waits.
    ///   - write: Fills the plaintext.
    /// - Returns: `false` if it did not leave.
    @discardableResult
    mutating func sendSingle(
        _ byteCount: Int, to peer: PeerID, of tunnel: TunnelID, isData: Bool = false,
        mayBeFragmented: Bool = true, _ write: (ByteRegion) -> Void
    ) -> Bool {
        let datagramByteCount = byteCount + WireGuardMessage.TransportData.overhead
        guard let socket, tunnels[tunnel].isUp, tunnels[tunnel].peers.contains(peer),
            tunnels[tunnel].peers[peer].destination != nil,
            let session = tunnels[tunnel].peers[peer].session, session.isUsableForSending(now: now)
        else { return false }
        let isEmpty = flushSends()
        guard isEmpty || mayBeFragmented && hasRoom(byteCount + datagramByteCount),
            let counter = session.reserveCounters(1)
        else {
            if mayBeFragmented { count(.sendFailed, of: tunnel) }
            return false
        }
        startRun(datagramByteCount, tunnel: tunnel, peer: peer)
        let datagram = transmitBuffer.whole.region(at: run.end, count: datagramByteCount)
        let plaintext = transmitBuffer.whole.region(
            at: run.end + datagramByteCount, count: byteCount)
        write(plaintext)
        _ = session.seal(counter: counter, packet: plaintext, into: datagram, with: cipher)
        run.append(datagramByteCount)
        let isControl = !isData && byteCount > 0
        noteSent(session, isData: isData, byteCount: datagramByteCount, renewsKeys: !isControl)
        if isControl {
            tunnels[tunnel].peers[peer].activity?.noteControl(byteCount: datagramByteCount)
        }
        if !mayBeFragmented, let destination = tunnels[tunnel].peers[peer].destination {
            socket.setDontFragment(true)
            let sent = socket.send(datagram, to: destination)
            socket.setDontFragment(false)
            run = DatagramRun()
            if sent >= 0 { count(.datagramsSent, of: tunnel) }
            // A device that is too small for it says so, which is an answer, too.
            return sent >= 0 || UDPSocket.isTooLong(sent)
        }
        closeRun()
        _ = flushSends()
        return true
    }

    /// Whether one more datagram fits behind what is still to be sent.
    private mutating func hasRoom(_ byteCount: Int) -> Bool {
        run.end + byteCount <= transmitBuffer.whole.count && sends.count < sends.capacity
    }

    private mutating func startRun(
        _ byteCount: Int, tunnel: TunnelID, peer: PeerID, trafficClass: UInt8 = 0
    ) {
        closeRun()
        run = DatagramRun(
            tunnel: tunnel, peer: peer, start: run.end, end: run.end, datagramBytes: byteCount,
            datagramCount: 0, datagramCountMax: datagramsPerSend, trafficClass: trafficClass,
            isClosed: false)
    }

    private mutating func closeRun() {
        guard run.datagramCount > 0 else { return }
        count(.datagramsSent, run.datagramCount, of: run.tunnel)
        let bytes = transmitBuffer.whole.region(at: run.start, count: run.end - run.start)
        if let destination = tunnels[run.tunnel].peers[run.peer].destination {
            let isQueued = sends.append(
                region: bytes, segmentByteCount: run.datagramCount > 1 ? run.datagramBytes : 0,
                to: destination, trafficClass: run.trafficClass)
            if !isQueued { count(.sendFailed, run.datagramCount, of: run.tunnel) }
        }
        run = DatagramRun(start: run.end, end: run.end)
    }

    /// Answers a packet that nobody takes with an ICMP error, as WireGuard does.
    private mutating func refuse(
        _ slot: Int32, _ packet: ByteRegion, of tunnel: TunnelID
    ) -> Bool {
        if tunnels[tunnel].icmpBudget.take(now: now) { answer(packet, with: .host, in: tunnel) }
        frames.release(slot)
        return false
    }

    private mutating func answer(
        _ packet: ByteRegion, with reason: ICMPUnreachable.Reason, in tunnel: TunnelID
    ) {
        let answer = icmpPacket.whole.region(from: VirtioNetHeader.count)
        let byteCount = ICMPUnreachable.build(reason, for: packet, from: nil, into: answer)
        guard byteCount > 0 else { return }
        icmpPacket.whole.prefix(VirtioNetHeader.count).fill(with: 0)
        let tun = tunnels[tunnel].tun
        let written =
            tunnels[tunnel].hasVirtioHeader
            ? tun.write(icmpPacket.whole.prefix(VirtioNetHeader.count + byteCount))
            : tun.write(answer.prefix(byteCount))
        guard written > 0 else { return }
        count(reason == .host ? .icmpUnreachable : .icmpTooBig, of: tunnel)
    }

    /// There is no port: what was read before that goes nowhere.
    private mutating func discardQueued() -> Bool {
        var didWork = false
        while let next = queues.dropFromLongest() {
            frames.release(next.slot)
            count(.interfaceDown, of: TunnelID(truncatingIfNeeded: next.tenant))
            didWork = true
        }
        return didWork
    }
}

extension RoutingTable {
    /// The peer whose allowed IPs contain the packet's destination; -1 for none.
    @inline(__always)
    func peer(forDestinationOf packet: IPPacket) -> PeerID {
        packet.version == 4
            ? lookup(ipv4: packet.destinationIPv4)
            : lookup(ipv6High: packet.destinationHigh, low: packet.destinationLow)
    }

    /// The peer whose allowed IPs contain the packet's source; -1 for none.
    @inline(__always)
    func peer(forSourceOf packet: IPPacket) -> PeerID {
        packet.version == 4
            ? lookup(ipv4: packet.sourceIPv4)
            : lookup(ipv6High: packet.sourceHigh, low: packet.sourceLow)
    }
}
