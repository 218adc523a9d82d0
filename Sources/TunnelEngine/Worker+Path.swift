import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

/// Control frames between nodes: probes of the path and their answers.
///
/// Probes are stamped where they leave and where they arrive, with the kernel's time of arrival, so
/// that what is measured is the path and not how busy either end is.
extension Worker {
    /// Takes the frames of one authenticated message. Those that this version does not know are
    /// skipped, so that the profile can grow.
    ///
    /// - Parameters:
    ///   - datagramByteCount: Of the message.
    ///   - index: Its place in the batch; `nil` for what came another way.
    mutating func receiveFrames(
        _ frames: ControlFrames, of session: Session, datagramByteCount: Int, at index: Int?
    ) {
        let tunnel = session.tunnel
        guard tunnels[tunnel].peers.contains(session.peer) else { return }
        tunnels[tunnel].peers[session.peer].activity?.noteControl(byteCount: datagramByteCount)
        var frames = frames
        var unknownCount = 0
        // One of each for a message, however many it holds: what a peer makes us do is bounded,
        // and none takes another's share of the control thread.
        var (probe, answer): (PathProbe.Received?, PathAnswer?)
        while let frame = frames.next() {
            if let found = PathProbe.Received(frame) {
                probe = probe ?? found
            } else if let found = PathAnswer(frame) {
                answer = answer ?? found
            } else {
                unknownCount += 1
            }
        }
        if probe != nil || answer != nil,
            !tunnels[tunnel].peers[session.peer].pathBudget.take(now: now)
        {
            return count(.inboxFull, of: tunnel)
        }
        if let probe { self.answer(probe, of: session, datagramByteCount, at: index) }
        if let answer {
            post(.pathAnswer(tunnel, session.peer, answer, arrival(of: index) / 1_000))
        }
        if unknownCount > 0 { count(.controlFrameUnknown, unknownCount, of: tunnel) }
    }

    private mutating func answer(
        _ probe: PathProbe.Received, of session: Session, _ datagramByteCount: Int, at index: Int?
    ) {
        let arrivedAt = arrival(of: index)
        let (accepted, missing) = session.withReplayWindow {
            ($0.acceptedCount, $0.missingCount)
        }
        let held = (Clock.monotonicNanoseconds() &- arrivedAt) / 1_000
        let answer = PathAnswer(
            number: probe.number, sentAt: probe.sentAt, receivedAt: arrivedAt / 1_000,
            heldMicroseconds: UInt32(clamping: held),
            datagramByteCount: UInt16(clamping: datagramByteCount), session: session.localIndex,
            receivedCount: accepted, expectedCount: accepted &+ missing)
        let byteCount = WireGuardMessage.TransportData.paddedCount(
            PathAnswer.frameCount, limit: .max)
        sendControl(byteCount, to: session.peer, of: session.tunnel) { answer.write(to: $0) }
    }

    /// When a message came to this machine, in nanoseconds of the monotonic clock.
    private mutating func arrival(of index: Int?) -> UInt64 {
        let age = index.flatMap { sojourn($0) } ?? 0
        return Clock.monotonicNanoseconds() &- min(age, EngineLimits.arrivalAgeMax)
    }

    /// Sends a probe, with Don't Fragment where its size is what is asked about.
    mutating func send(_ probe: PathProbe, to peer: PeerID, of tunnel: TunnelID) {
        guard tunnels[tunnel].peers.contains(peer) else { return }
        let smallest = WireGuardMessage.TransportData.paddedCount(
            PathProbe.frameCount, limit: .max)
        let sized = probe.datagramByteCount - WireGuardMessage.TransportData.overhead
        let byteCount = max(smallest, min(sized, EngineLimits.packetBytesMax))
        let hasLeft = sendControl(
            byteCount, to: peer, of: tunnel, mayBeFragmented: probe.datagramByteCount == 0
        ) { plaintext in
            probe.write(sentAt: Clock.monotonicNanoseconds() / 1_000, to: plaintext)
        }
        // One that never left says nothing of its size, although the small one beside it arrives.
        if !hasLeft { post(.probeSkipped(tunnel, peer, probe)) }
    }

    /// Sends one message of control frames at once, past all queues, or not at all: a probe that
    /// waited would say nothing of the path.
    ///
    /// - Parameter write: Writes frames to the start of `byteCount` zeros.
    /// - Returns: `false` if it did not leave.
    @discardableResult
    private mutating func sendControl(
        _ byteCount: Int, to peer: PeerID, of tunnel: TunnelID, mayBeFragmented: Bool = true,
        _ write: (ByteRegion) -> Void
    ) -> Bool {
        guard let session = tunnels[tunnel].peers[peer].session,
            session.profile.family == .branchline
        else { return false }
        return sendSingle(byteCount, to: peer, of: tunnel, mayBeFragmented: mayBeFragmented) {
            $0.fill(with: 0)
            write($0)
        }
    }
}
