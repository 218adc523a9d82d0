import Cryptography
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing
import WireGuardProtocol

@testable import TunnelEngine

/// Two workers end to end, each on this thread, over UDP sockets of the loopback device.
@Suite struct WorkerTests {
    /// Each is longer than the one before, so that none are merged.
    private func datagram(_ serial: Int = 0) -> [UInt8] {
        PacketBuilder.udp4.with {
            $0.identification = UInt16(serial)
            $0.payload = PacketBuilder.pattern(100 + serial, serial)
        }.bytes
    }

    /// A packet the other way.
    private func answer(from source: [UInt8] = [10, 0, 0, 2]) -> [UInt8] {
        PacketBuilder.udp4.with {
            $0.source = source
            $0.destination = [10, 0, 0, 1]
            $0.payload = PacketBuilder.pattern(64)
        }.bytes
    }

    /// A transport message as the right's peer would send it.
    private func sealed(_ session: Session, counter: UInt64, _ packet: [UInt8]) -> [UInt8] {
        let padded = packet + [UInt8](repeating: 0, count: -packet.count & 15)
        let datagram = ByteArena(count: padded.count + 32)
        return ByteArena.withCopy(of: padded) {
            let count = session.seal(
                counter: counter, packet: $0, into: datagram.whole, with: PacketCipher())
            return datagram.whole.prefix(count).bytes
        }
    }

    private func send(_ bytes: [UInt8], from group: UDPSocketGroup, to bench: WorkerBench) throws {
        let destination = try #require(Destination(bench.endpoint, family: group.family))
        let sent = ByteArena.withCopy(of: bytes) {
            group.dataSockets[0].send($0, to: destination)
        }
        #expect(sent == bytes.count)
    }

    @Test func packetsCrossUnchangedInBothDirections() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let there = datagram()
        pair.left.offer(there)
        var delivered: [[UInt8]] = []
        #expect(pair.work { delivered += pair.right.delivered(); return !delivered.isEmpty })
        #expect(delivered == [there])
        pair.right.offer(answer())
        delivered = []
        #expect(pair.work { delivered += pair.left.delivered(); return !delivered.isEmpty })
        #expect(delivered == [answer()])
        #expect(pair.left.counters.events[.datagramsSent] == 1)
        #expect(pair.right.activity.receivedBytes == UInt64((there.count + 15) / 16 * 16 + 32))
    }

    @Test(arguments: TunnelProfile.allCases)
    func packetsOfEveryProfileCross(_ profile: TunnelProfile) throws {
        let pair = try WorkerBenchPair(profile: profile)
        pair.establish()
        let there = datagram()
        pair.left.offer(there)
        var delivered: [[UInt8]] = []
        #expect(pair.work { delivered += pair.right.delivered(); return !delivered.isEmpty })
        #expect(delivered == [there])
        let payload = PacketBuilder.pattern(1_360 * 9 + 700)
        let frame = PacketBuilder.tcp4.with { $0.payload = payload }.bytes
        pair.left.offer(frame, header: .tcp4Segmentation)
        delivered = []
        #expect(pair.work { delivered += pair.right.delivered(); return !delivered.isEmpty })
        #expect(delivered.map { Array($0[40...]) } == [payload])
    }

    @Test(arguments: TunnelProfile.allCases)
    func datagramOfTheOtherFamilyIsDropped(_ profile: TunnelProfile) throws {
        let pair = try WorkerBenchPair(profile: profile)
        pair.establish()
        let genuine = sealed(pair.rightSession, counter: 0, answer())
        var swapped = genuine
        swapped[1] ^= 1
        try send(swapped, from: pair.right.sockets, to: pair.left)
        #expect(pair.work { pair.left.counters.drops[.wrongProfile] == 1 })
        #expect(pair.left.activity.receivedBytes == 0)
        // It did not use up the counter.
        try send(genuine, from: pair.right.sockets, to: pair.left)
        #expect(pair.work { pair.left.activity.receivedBytes > 0 })
        #expect(pair.left.delivered() == [answer()])
    }

    @Test(arguments: [TunnelProfile.branchlineAES, .branchlineChaCha])
    func unknownControlFramesAreSkipped(_ profile: TunnelProfile) throws {
        let pair = try WorkerBenchPair(profile: profile)
        pair.establish()
        // Two frames of a kind that is still to come, and padding.
        let frames: [UInt8] = [0x8e, 2, 0, 1, 2, 0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let broken: [UInt8] = [0x8e, 200, 0, 1] + [UInt8](repeating: 7, count: 12)
        for (counter, plaintext) in [frames, broken, answer()].enumerated() {
            try send(
                sealed(pair.rightSession, counter: UInt64(counter), plaintext),
                from: pair.right.sockets, to: pair.left)
        }
        var delivered: [[UInt8]] = []
        #expect(pair.work { delivered += pair.left.delivered(); return !delivered.isEmpty })
        #expect(delivered == [answer()])
        #expect(pair.left.counters.events[.controlFrameUnknown] == 2)
        #expect(pair.left.counters.drops[.innerMalformed] == 1)
        let heard = 32 + frames.count + 32 + (answer().count + 15) / 16 * 16
        #expect(pair.left.activity.receivedBytes == UInt64(heard), "frames are signs of life")
    }

    @Test func whatIsNoPacketIsMalformedInAWireGuardSession() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        try send(
            sealed(pair.rightSession, counter: 0, [UInt8](repeating: 0x80, count: 16)),
            from: pair.right.sockets, to: pair.left)
        #expect(pair.work { pair.left.counters.drops[.innerMalformed] == 1 })
        #expect(pair.left.counters.events[.controlFrameUnknown] == 0)
        #expect(pair.left.activity.receivedBytes == 0)
    }

    @Test func segmentationFrameArrivesAsOneFrame() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let payload = PacketBuilder.pattern(1_360 * 9 + 700)
        let frame = PacketBuilder.tcp4.with { $0.payload = payload }.bytes
        pair.left.offer(frame, header: .tcp4Segmentation)
        var received: (header: VirtioNetHeader, packet: [UInt8])?
        #expect(
            pair.work {
                received = received ?? pair.right.nextDelivered()
                return received != nil
            })
        let (merged, packet) = try #require(received)
        #expect(pair.left.counters.events[.datagramsSent] == 10)
        #expect(pair.left.link.counters.events[.socketSends] == 1)
        #expect(merged.gsoType == VirtioNetHeader.gsoTCPv4)
        #expect(merged.gsoSize == 1_360)
        #expect(Array(packet[40...]) == payload)
        #expect(pair.right.nextDelivered() == nil)
    }

    @Test func framesWaitForASessionAndThenLeaveInOrder() throws {
        let pair = try WorkerBenchPair()
        let packets = (0..<5).map { datagram($0) }
        for packet in packets { pair.left.offer(packet) }
        pair.left.step()
        let events = pair.left.inbox.take()
        #expect(events.count == 1, "one handshake is asked for")
        guard case .attention(0, WorkerBench.peer) = events.first else {
            Issue.record("no handshake was asked for")
            return
        }
        #expect(pair.left.counters.events[.datagramsSent] == 0)
        pair.establish()
        pair.left.post([.sendStaged(WorkerBench.peer, confirming: true)])
        var delivered: [[UInt8]] = []
        #expect(
            pair.work { delivered += pair.right.delivered(); return delivered.count == 5 })
        #expect(delivered == packets)
        #expect(pair.left.counters.events[.datagramsSent] == 5, "no keepalive where data confirms")
    }

    @Test func oldestOfTooManyWaitingFramesGivesWay() throws {
        let pair = try WorkerBenchPair()
        let limit = EngineLimits.stagedFramesPerPeer
        for serial in 0..<limit + 3 {
            pair.left.offer(datagram(serial))
            pair.left.step()
        }
        #expect(pair.left.counters.drops[.stagedQueueFull] == 3)
        pair.establish()
        pair.left.post([.sendStaged(WorkerBench.peer, confirming: true)])
        var delivered: [[UInt8]] = []
        #expect(
            pair.work { delivered += pair.right.delivered(); return delivered.count == limit })
        #expect(delivered == (3..<limit + 3).map { datagram($0) })
    }

    @Test func failedHandshakeFreesEveryWaitingFrame() throws {
        let pair = try WorkerBenchPair()
        let freeCount = pair.left.worker.frames.freeSmallCount
        for serial in 0..<20 { pair.left.offer(datagram(serial)) }
        pair.left.step()
        #expect(pair.left.worker.frames.freeSmallCount == freeCount - 20)
        pair.left.post([.discardStaged(WorkerBench.peer)])
        pair.left.step()
        #expect(pair.left.worker.frames.freeSmallCount == freeCount)
        #expect(pair.left.counters.drops[.handshakeFailed] == 20)
    }

    @Test func keepaliveConfirmsWhereNothingWaits() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        pair.left.post([.sendStaged(WorkerBench.peer, confirming: true)])
        #expect(pair.work { pair.rightSession.isConfirmed })
        #expect(pair.right.delivered().isEmpty)
        let confirmed = pair.right.inbox.take().contains {
            if case .confirmed(let session) = $0 { session === pair.rightSession } else { false }
        }
        #expect(confirmed)
    }

    @Test func packetForNobodyIsAnsweredWithAnICMPError() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        pair.left.offer(PacketBuilder.udp4.with { $0.destination = [10, 9, 9, 9] }.bytes)
        var delivered: [[UInt8]] = []
        #expect(pair.work { delivered += pair.left.delivered(); return !delivered.isEmpty })
        #expect(delivered.count == 1)
        #expect(delivered.first.map { Array($0[20...21]) } == [3, 1], "host unreachable")
        #expect(pair.left.counters.drops[.noRoute] == 1)
        #expect(pair.left.counters.events[.icmpUnreachable] == 1)
    }

    @Test func packetFromAnAddressThatIsNotThePeersIsDropped() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let packets = [answer(from: [10, 0, 0, 3]), answer()]
        for (counter, packet) in packets.enumerated() {
            try send(
                sealed(pair.rightSession, counter: UInt64(counter), packet),
                from: pair.right.sockets, to: pair.left)
        }
        var delivered: [[UInt8]] = []
        #expect(pair.work { delivered += pair.left.delivered(); return !delivered.isEmpty })
        #expect(delivered == [answer()])
        #expect(pair.left.counters.drops[.sourceNotAllowed] == 1)
    }

    @Test func packetOfAnotherSourceConfirmsTheSessionAndNothingElse() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let stray = answer(from: [10, 0, 0, 3])
        try send(
            sealed(pair.leftSession, counter: 0, stray), from: pair.left.sockets, to: pair.right)
        #expect(pair.work { pair.right.counters.drops[.sourceNotAllowed] == 1 })
        #expect(pair.rightSession.isConfirmed)
        #expect(pair.right.delivered().isEmpty)
        #expect(pair.right.activity.receivedBytes == 0)
        let events = pair.right.inbox.take()
        #expect(events.count == 1)
        guard case .confirmed? = events.first else { throw Unexpected() }
    }

    private struct Unexpected: Error {}

    @Test func replayIsDropped() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let datagram = sealed(pair.rightSession, counter: 0, answer())
        for _ in 0..<3 { try send(datagram, from: pair.right.sockets, to: pair.left) }
        #expect(pair.work { pair.left.counters.drops[.replayed] == 2 })
        #expect(pair.left.delivered() == [answer()])
    }

    @Test func forgeryChangesNothingAndIsCounted() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let elsewhere = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        defer { elsewhere.close() }
        let genuine = sealed(pair.rightSession, counter: 0, answer())
        var flipped = genuine, foreign = genuine
        flipped[40] ^= 1
        foreign[4] ^= 0x10
        try send(flipped, from: elsewhere, to: pair.left)
        try send(foreign, from: elsewhere, to: pair.left)
        #expect(pair.work { pair.left.link.counters.events[.datagramsReceived] == 2 })
        #expect(pair.left.counters.drops[.authenticationFailed] == 1)
        #expect(pair.left.link.counters.drops[.unknownReceiverIndex] == 1)
        #expect(pair.left.inbox.take().isEmpty)
        #expect(pair.left.activity.receivedBytes == 0)
        // The forgery did not use up the counter.
        try send(genuine, from: pair.right.sockets, to: pair.left)
        #expect(pair.work { pair.left.activity.receivedBytes > 0 })
        #expect(pair.left.delivered() == [answer()])
    }

    @Test func authenticDatagramFromANewPlaceMovesThePeer() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let elsewhere = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        defer { elsewhere.close() }
        try send(
            sealed(pair.rightSession, counter: 0, answer()), from: elsewhere, to: pair.left)
        #expect(pair.work { pair.left.activity.receivedBytes > 0 })
        let places = pair.left.inbox.take().compactMap {
            if case .roamed(_, _, let endpoint, _) = $0 { endpoint.port } else { nil }
        }
        #expect(places == [elsewhere.port])
        pair.left.offer(datagram())
        let batch = ReceiveBatch(messageCapacity: 1)
        #expect(pair.work { elsewhere.dataSockets[0].receive(batch, limit: 1) == 1 })
    }

    @Test func framesOfAnInterfaceThatIsDownAreCountedAndFreed() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        pair.left.step()
        let freeCount = pair.left.worker.frames.freeSmallCount
        pair.left.link.post([.useSockets([])])
        for serial in 0..<10 { pair.left.offer(datagram(serial)) }
        pair.left.step()
        #expect(pair.left.counters.events[.interfaceDown] == 10)
        #expect(pair.left.worker.frames.freeSmallCount == freeCount)
    }

    @Test func removedPeerGetsNothingMore() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        pair.left.post([.removePeer(WorkerBench.peer)])
        pair.left.offer(datagram())
        pair.left.step()
        #expect(pair.left.counters.drops[.noRoute] == 1)
        #expect(pair.left.counters.events[.datagramsSent] == 0)
    }

    @Test func whatIsNotIPIsDropped() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        pair.left.offer([0x60])
        pair.left.offer([UInt8](repeating: 0xff, count: 60))
        pair.left.step()
        #expect(pair.left.counters.drops[.notIP] == 2)
    }
}
