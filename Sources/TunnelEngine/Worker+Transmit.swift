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
            transmitFrame(next.slot)
            if run.end > EngineLimits.transmitBufferBytes - Self.frameWireBytesMax
                || sends.count + EngineLimits.sendsPerFrame > sends.capacity
            {
                closeRun()
                guard flushSends() else { break }
            }
        }
        closeRun()
        _ = flushSends()
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
    private func noteIncidents() {
        for index in 0..<sends.incidentCount {
            let incident = sends.incident(index)
            if incident.isSentWithoutSource {
                post(.sourceRefused)
            } else {
                count(.sendFailed, incident.datagramCount)
            }
        }
    }

    private mutating func transmitFrame(_ slot: Int32) {
        let frame = frames.frame(slot)
        let packet = frame.region(from: VirtioNetHeader.count)
        guard let header = IPPacket(packet) else {
            count(DropReason.notIP)
            return frames.release(slot)
        }
        let peer = routes.peer(forDestinationOf: header)
        guard peer >= 0, peers.contains(peer) else {
            return refuse(slot, packet, .noRoute)
        }
        guard peers[peer].destination != nil else {
            return refuse(slot, packet, .noEndpoint)
        }
        if let next = peers[peer].next, next.isConfirmed {
            // Another worker heard from the peer under its new keys; what is answered to that must
            // not leave under keys that a restarted peer no longer has.
            peers[peer].session = next
            peers[peer].next = nil
        }
        guard let session = peers[peer].session, session.isUsableForSending(now: now) else {
            stage(slot, for: peer)
            return requestHandshake(peer)
        }
        switch Segmenter.make(
            header: VirtioNetHeader(reading: frame), frame: packet,
            capacityAfter: EngineLimits.frameTailBytes, paddingLimit: mtu)
        {
        case .invalid:
            count(.invalidFrame)
            frames.release(slot)
        case .segmenter(var segmenter):
            guard let counter = session.reserveCounters(segmenter.segmentCount) else {
                stage(slot, for: peer)
                return requestHandshake(peer)
            }
            encrypt(&segmenter, with: session, from: counter, ecn: header.ecn)
            frames.release(slot)
        }
    }

    /// Seals each segment behind the last one in the transmit buffer.
    private mutating func encrypt(
        _ segmenter: inout Segmenter, with session: Session, from firstCounter: UInt64, ecn: ECN
    ) {
        let outer = ECN.outer(forInner: ecn, mode: ecnMode)
        var counter = firstCounter
        var wireBytes = 0
        while let packet = segmenter.next() {
            let byteCount = packet.count + WireGuardMessage.TransportData.overhead
            if !run.accepts(byteCount, peer: session.peer, ecn: outer) {
                startRun(byteCount, peer: session.peer, ecn: outer)
            }
            let datagram = transmitBuffer.whole.region(at: run.end, count: byteCount)
            _ = session.seal(counter: counter, packet: packet, into: datagram, with: cipher)
            run.append(byteCount)
            wireBytes += byteCount
            counter &+= 1
        }
        let packetCount = Int(truncatingIfNeeded: counter &- firstCounter)
        count(.packetsRead, packetCount)
        noteSent(session, isData: true, byteCount: wireBytes)
    }

    /// Tells the timers that something was sent, and asks for new keys in time.
    private mutating func noteSent(_ session: Session, isData: Bool, byteCount: Int) {
        let peer = session.peer
        guard let activity = peers[peer].activity else { return }
        if activity.packetSent(isData: isData, byteCount: byteCount, now: now) {
            post(.attention(peer))
        }
        if session.needsRekeyAfterSending(now: now) { requestHandshake(peer) }
    }

    func requestHandshake(_ peer: PeerID) {
        if let activity = peers[peer].activity, activity.requestHandshake() {
            post(.attention(peer))
        }
    }

    /// Sends an empty packet, to confirm a session that this side initiated: behind what the socket
    /// has no room for yet, if it is full.
    mutating func sendKeepalive(to peer: PeerID) {
        let byteCount = WireGuardMessage.TransportData.overhead
        guard socket != nil, peers[peer].destination != nil,
            let session = peers[peer].session, session.isUsableForSending(now: now)
        else { return }
        guard flushSends() || hasRoom(byteCount), let counter = session.reserveCounters(1) else {
            return count(.sendFailed)
        }
        startRun(byteCount, peer: peer, ecn: .notECT)
        let datagram = transmitBuffer.whole.region(at: run.end, count: byteCount)
        _ = session.seal(
            counter: counter, packet: transmitBuffer.whole.prefix(0), into: datagram, with: cipher)
        run.append(byteCount)
        noteSent(session, isData: false, byteCount: byteCount)
        closeRun()
        _ = flushSends()
    }

    /// Whether one more datagram fits behind what is still to be sent.
    private func hasRoom(_ byteCount: Int) -> Bool {
        run.end + byteCount <= transmitBuffer.whole.count && sends.count < sends.capacity
    }

    private mutating func startRun(_ byteCount: Int, peer: PeerID, ecn: ECN) {
        closeRun()
        run = DatagramRun(
            peer: peer, start: run.end, end: run.end, datagramBytes: byteCount,
            datagramCount: 0, datagramCountMax: datagramsPerSend, ecn: ecn, isClosed: false)
    }

    private mutating func closeRun() {
        guard run.datagramCount > 0 else { return }
        count(.datagramsSent, run.datagramCount)
        let bytes = transmitBuffer.whole.region(at: run.start, count: run.end - run.start)
        if let destination = peers[run.peer].destination {
            let isQueued = sends.append(
                region: bytes, segmentByteCount: run.datagramCount > 1 ? run.datagramBytes : 0,
                to: destination, trafficClass: run.ecn.rawValue)
            if !isQueued { count(.sendFailed, run.datagramCount) }
        }
        run = DatagramRun(start: run.end, end: run.end)
    }

    /// Answers a packet that nobody takes with an ICMP error, as WireGuard does.
    private mutating func refuse(_ slot: Int32, _ packet: ByteRegion, _ reason: DropReason) {
        count(reason)
        if icmpBudget.take(now: now) { sendUnreachable(packet) }
        frames.release(slot)
    }

    private mutating func sendUnreachable(_ packet: ByteRegion) {
        let answer = icmpPacket.whole.region(from: VirtioNetHeader.count)
        let byteCount = ICMPUnreachable.build(for: packet, from: nil, into: answer)
        guard byteCount > 0 else { return }
        icmpPacket.whole.prefix(VirtioNetHeader.count).fill(with: 0)
        let written =
            hasVirtioHeader
            ? tun.write(icmpPacket.whole.prefix(VirtioNetHeader.count + byteCount))
            : tun.write(answer.prefix(byteCount))
        if written > 0 { count(.icmpUnreachable) }
    }

    /// The interface is down: what was read before that goes nowhere.
    private mutating func discardQueued() -> Bool {
        var didWork = false
        while let next = queues.dequeue(now: now) {
            frames.release(next.slot)
            count(.interfaceDown)
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
