import EgressScheduling
import InferenceTraffic
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardConfiguration
import WireGuardProtocol

/// Where a frame belongs: what is kept of it while it waits, for a turn or for a session.
struct FramePlace {
    var flow: UInt32 = 0
    var peer: PeerID = -1
    var trafficClass = TrafficClass.token
    /// What its line adds to each packet, in bytes; -1 without a line.
    var overheadBytes: Int16 = -1
}

/// Classes of frames and packets.
///
/// A frame of a device is classed once, however many segments it has, and what a slow line takes is
/// cut into packets before it waits.
extension Worker {
    /// Finds a frame's peer, class and flow.
    mutating func place(
        _ packet: IPPacket, segmentByteCount: Int, of tunnel: TunnelID
    ) -> FramePlace {
        var place = FramePlace()
        let peer = peer(for: packet, of: tunnel)
        let qos = tunnels[tunnel].qos
        let ceiling = max(ceiling(to: peer, of: tunnel), originCeiling(of: packet, in: tunnel))
        place.overheadBytes = linkOverheadBytes
        if tunnels[tunnel].peers.contains(peer) {
            place.peer = peer
            if let line = tunnels[tunnel].peers[peer].qos.line {
                place.overheadBytes = Int16(clamping: line.overheadBytes)
            }
        }
        if qos.rules.isClassifying {
            let verdict = flows.observe(
                packet, segmentByteCount: segmentByteCount, direction: .outbound,
                tunnel: Int(tunnel), peer: place.peer, ceiling: ceiling, rules: qos.rules,
                now: now)
            place.flow = verdict.flow
            place.trafficClass = verdict.trafficClass
        } else {
            place.flow = flows.flow(of: packet)
            place.trafficClass = TrafficClass.token.limited(to: ceiling)
        }
        if let budget = qos.budget, isOver(budget, packet.totalCount, of: tunnel) {
            place.trafficClass = .background
        }
        return place
    }

    /// The best class that this side's traffic to a peer may have: the greater is the lesser class.
    private mutating func ceiling(to peer: PeerID, of tunnel: TunnelID) -> TrafficClass {
        max(tunnels[tunnel].qos.ceiling, ceiling(of: peer, in: tunnel))
    }

    /// The best class that a peer's traffic may have.
    private mutating func ceiling(of peer: PeerID, in tunnel: TunnelID) -> TrafficClass {
        guard tunnels[tunnel].peers.contains(peer) else { return PeerQoS.noCeiling }
        return max(tunnels[tunnel].qos.peersCeiling, tunnels[tunnel].peers[peer].qos.ceiling)
    }

    /// The best class that a frame may have because of the peer that it came from: what one peer
    /// sends to another by way of this side stays what it may be. Of several peers that share the
    /// source none is known.
    private mutating func originCeiling(of packet: IPPacket, in tunnel: TunnelID) -> TrafficClass {
        guard tunnels[tunnel].limitedPeerCount > 0 else { return PeerQoS.noCeiling }
        return ceiling(of: tunnels[tunnel].routes.peer(forSourceOf: packet), in: tunnel)
    }

    /// Takes a packet's bytes from a budget, and from time to time what was seen of tokens.
    private mutating func isOver(
        _ budget: TenantBudget, _ byteCount: Int, of tunnel: TunnelID
    ) -> Bool {
        budget.spend(bytes: byteCount, now: now)
        if now >= tunnels[tunnel].budgetReviewAt {
            tunnels[tunnel].budgetReviewAt = now &+ EngineLimits.budgetReviewNanoseconds
            budget.spend(bytes: 0, tokens: flows.takeTokens(of: Int(tunnel)), now: now)
        }
        guard budget.isExceeded(now: now) else { return false }
        count(.overBudget, of: tunnel)
        return true
    }

    /// Takes note of a packet that is about to be delivered, and lets it claim no more than its
    /// sender may.
    mutating func takeNote(of packet: IPPacket, from peer: PeerID, of tunnel: TunnelID) {
        let qos = tunnels[tunnel].qos
        let ceiling = ceiling(of: peer, in: tunnel)
        if ceiling != PeerQoS.noCeiling {
            let claimed = packet.dscp
            let allowed = qos.marking.clamped(claimed, to: ceiling)
            if allowed != claimed { packet.dscp = allowed }
        }
        qos.budget?.spend(bytes: packet.totalCount, now: now)
        guard qos.rules.isClassifying else { return }
        _ = flows.observe(
            packet, segmentByteCount: 0, direction: .inbound, tunnel: Int(tunnel), peer: peer,
            ceiling: ceiling, rules: qos.rules, now: now)
    }
}

/// Frames on their way to the scheduler.
extension Worker {
    /// Enqueues a frame that was just read: in pieces where it would hold a slow line for long.
    mutating func enqueueRead(_ slot: Int32, _ place: FramePlace, of tunnel: TunnelID) {
        guard frames.isLarge(slot), queues.splits(tenant: Int(tunnel), path: place.peer),
            case .segmenter(var segmenter) = segments(of: slot),
            segmenter.segmentCount > 1,
            segmenter.firstPacketCount <= frames.smallPacketBytesMax
        else { return enqueue(slot, place, of: tunnel) }
        var hasRoom = true
        while let packet = segmenter.next() {
            // The scheduler may be full of the very flow: then it gives up what is oldest. What
            // follows a lost piece is lost with it.
            guard hasRoom, let piece = takeSmallSlot() else {
                hasRoom = false
                noteOverflow(place.trafficClass, of: tunnel)
                continue
            }
            let byteCount = segmenter.lastPacketCount
            let space = frames.space(piece)
            space.prefix(VirtioNetHeader.count).fill(with: 0)
            space.region(at: VirtioNetHeader.count, count: byteCount).copy(
                from: packet.prefix(byteCount))
            frames.setFrameCount(piece, VirtioNetHeader.count + byteCount)
            enqueue(piece, place, of: tunnel)
        }
        frames.release(slot)
    }

    mutating func enqueue(_ slot: Int32, _ place: FramePlace, of tunnel: TunnelID) {
        let frame = frames.frame(slot)
        let byteCount = frame.count - VirtioNetHeader.count
        places[Int(slot)] = place
        let isQueued = queues.enqueue(
            EgressFrame(
                slot: slot, tenant: Int(tunnel), path: place.peer,
                trafficClass: place.trafficClass, flow: place.flow, byteCount: byteCount,
                wireByteCount: wireByteCount(frame, place, of: tunnel)),
            now: now)
        if !isQueued {
            noteOverflow(place.trafficClass, of: tunnel)
            frames.release(slot)
        }
        while let dropped = queues.dropExcess(of: Int(tunnel), path: place.peer) {
            drop(dropped)
        }
    }

    /// Counts a frame that was given up, and frees its slot.
    mutating func drop(_ dropped: DroppedFrame) {
        noteOverflow(
            dropped.trafficClass, of: TunnelID(truncatingIfNeeded: dropped.tenant))
        frames.release(dropped.slot)
    }

    private mutating func noteOverflow(_ trafficClass: TrafficClass, of tunnel: TunnelID) {
        count(.queueOverflow, of: tunnel)
        tunnels[tunnel].port.counters.classes.add(.overflowDrops, of: trafficClass)
    }

    private mutating func segments(of slot: Int32) -> Segmenter.Outcome {
        let frame = frames.frame(slot)
        return Segmenter.make(
            header: VirtioNetHeader(reading: frame),
            frame: frame.region(from: VirtioNetHeader.count),
            capacityAfter: EngineLimits.frameTailBytes, paddingLimit: 0)
    }

    /// What a frame will take of a line: padding, tunnel and outer headers and what the line adds,
    /// of each of its packets.
    private mutating func wireByteCount(
        _ frame: ByteRegion, _ place: FramePlace, of tunnel: TunnelID
    ) -> Int {
        let byteCount = frame.count - VirtioNetHeader.count
        guard place.overheadBytes >= 0 else { return byteCount }
        let header = VirtioNetHeader(reading: frame)
        let perPacket =
            Int(place.overheadBytes) + WireGuardMessage.TransportData.overhead
            + outerBytes(to: place.peer, of: tunnel)
        let segmentSize = Int(header.gsoSize)
        guard header.gsoType != VirtioNetHeader.gsoNone, segmentSize > 0 else {
            return WireGuardMessage.TransportData.paddedCount(
                byteCount, limit: tunnels[tunnel].mtu) + perPacket
        }
        // About: a frame that waits whole is a small part of what its line takes in a while.
        let packetCount = max((byteCount + segmentSize - 1) / segmentSize, 1)
        return byteCount + packetCount * (perPacket + EngineLimits.innerHeaderBytes)
    }

    private mutating func outerBytes(to peer: PeerID, of tunnel: TunnelID) -> Int {
        guard peer >= 0, let destination = tunnels[tunnel].peers[peer].destination,
            !destination.isIPv4
        else { return IPPacket.udpHeadersCount(isIPv4: true) }
        return IPPacket.udpHeadersCount(isIPv4: false)
    }
}

/// Frames on their way out.
extension Worker {
    /// Lets a frame bear the scheduler's signal to slow down.
    ///
    /// - Returns: `false` if it has to be dropped to say so.
    mutating func bearsSignal(
        _ packet: IPPacket, _ trafficClass: TrafficClass, of tunnel: TunnelID
    ) -> Bool {
        let classes = tunnels[tunnel].port.counters.classes
        guard packet.markCE() else {
            count(.earlyDrop, of: tunnel)
            classes.add(.earlyDrops, of: trafficClass)
            return false
        }
        count(.earlyMark, of: tunnel)
        classes.add(.marks, of: trafficClass)
        return true
    }

    /// Writes the class into the inner header where policy wants it there.
    ///
    /// - Returns: The traffic class of outer headers, which claims no more than ceilings allow
    ///   whatever a host behind this side has put into the inner one.
    mutating func mark(
        _ packet: IPPacket, _ trafficClass: TrafficClass, to peer: PeerID, of tunnel: TunnelID
    ) -> UInt8 {
        let rules = tunnels[tunnel].qos.marking(tunnels[tunnel].peers[peer].qos)
        let ecn = ECN.outer(forInner: packet.ecn, mode: ecnMode)
        // First, so that the uniform model copies what leaves inside (RFC 2983, section 3.1).
        if let inner = rules.innerDSCP(of: trafficClass), packet.dscp != inner {
            packet.dscp = inner
        }
        let shown = rules.clamped(packet.dscp, to: ceiling(to: peer, of: tunnel))
        return rules.outerTrafficClass(inner: shown, trafficClass: trafficClass, ecn: ecn)
    }

    /// Counts what left.
    mutating func noteDeparture(
        _ departure: Departure, _ outer: UInt8, packetCount: Int, to session: Session
    ) {
        let classes = tunnels[session.tunnel].port.counters.classes
        let trafficClass = departure.trafficClass
        classes.add(.packets, packetCount, of: trafficClass)
        classes.add(.bytes, departure.byteCount, of: trafficClass)
        classes.noteSojourn(
            departure.sojournNanoseconds, packets: packetCount, of: trafficClass)
        if outer & ~3 != 0 { classes.add(.outerMarked, packetCount, of: trafficClass) }
        if tunnels[session.tunnel].qos.marking.marksInner {
            classes.add(.innerMarked, packetCount, of: trafficClass)
        }
    }
}

/// What the control thread says and asks.
extension Worker {
    mutating func setLink(_ line: WorkerLine?) {
        linkOverheadBytes = Int16(clamping: line?.overheadBytes ?? -1)
        queues.setLink(line?.shape, now: Clock.monotonicNanoseconds())
    }

    mutating func setQoS(_ qos: WorkerQoS, of tunnel: TunnelID) {
        tunnels[tunnel].qos = qos
        queues.setClasses(qos.classes, of: Int(tunnel))
    }

    mutating func setQoS(_ qos: PeerQoS, to peer: PeerID, of tunnel: TunnelID) {
        guard tunnels[tunnel].peers.contains(peer) else { return }
        let old = tunnels[tunnel].peers[peer].qos
        let hadLine = old.line != nil
        tunnels[tunnel].limitedPeerCount +=
            (qos.ceiling == PeerQoS.noCeiling ? 0 : 1)
            - (old.ceiling == PeerQoS.noCeiling ? 0 : 1)
        tunnels[tunnel].peers[peer].qos = qos
        guard hadLine || qos.line != nil else { return }
        queues.setPath(
            peer, of: Int(tunnel), shape: qos.line?.shape, now: Clock.monotonicNanoseconds())
    }

    /// Nothing of the peer is left here when its number is another's: of its flows not after
    /// ``forgetRemovedPeers()``.
    mutating func forgetQoS(of peer: PeerID, of tunnel: TunnelID) {
        setQoS(PeerQoS(), to: peer, of: tunnel)
        removedPeers[tunnel, default: []].insert(peer)
    }

    /// Lets flows forget the peers that were removed: all of them at once, for each time costs as
    /// much as there are flows.
    mutating func forgetRemovedPeers() {
        guard !removedPeers.isEmpty else { return }
        for (tunnel, peers) in removedPeers { flows.remove(peers: peers, of: Int(tunnel)) }
        removedPeers.removeAll()
    }

    /// Answers a question; allocates.
    mutating func report(_ request: ReportRequest, of tunnel: TunnelID) -> WorkerReport {
        var report = WorkerReport()
        let (tenant, rules) = (Int(tunnel), tunnels[tunnel].qos.rules)
        switch request {
        case .status:
            for trafficClass in TrafficClass.allCases {
                report.queues.append(
                    WorkerReport.Queue(queues.occupancy(of: tenant, trafficClass)))
            }
            for peer in tunnels[tunnel].peers.numbers
            where tunnels[tunnel].peers[peer].qos.line != nil {
                report.paths.append(
                    WorkerReport.Path(
                        peer: peer,
                        queue: WorkerReport.Queue(queues.occupancy(ofPath: peer, of: tenant)),
                        wireBytes: queues.wireBytesSent(onPath: peer, of: tenant)))
            }
            report.linkWireBytes = queues.wireBytesSent
            report.flowCount = flows.flowCount(of: tenant)
            report.flowCapacity = flows.capacity
            report.evictedFlows = flows.evictedCount(of: tenant)
            report.measures = flows.measures(of: tenant, rules: rules)
        case .flows(let filter):
            report.flows = flows.flows(
                of: tenant, matching: filter, limit: FlowQuery.flowsMax, rules: rules,
                now: Clock.monotonicNanoseconds())
        }
        return report
    }
}

extension WorkerReport.Queue {
    fileprivate init(_ occupancy: Occupancy) {
        self.init(packets: occupancy.packets, bytes: occupancy.bytes)
    }
}
