import CAllocationCounter
import Cryptography
import EgressScheduling
import Glibc
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import TunnelEngine
@testable import WireGuardProtocol

/// Nothing on the packet path allocates once it is warm.
///
/// An allocation counter is linked into the tests, and counts this thread only.
@Suite struct AllocationTests {
    /// Heap allocations of `body`, which ran a few times before.
    private func allocations(_ body: () -> Void) -> UInt {
        for _ in 0..<3 { body() }
        let before = allocations_of_this_thread()
        body()
        return allocations_of_this_thread() - before
    }

    /// Unoptimised code allocates the frames of `_modify` accessors.
    private static let isOptimised: Bool = {
        #if DEBUG
        print("skipped: allocations of table accesses are counted in release builds")
        return false
        #else
        return true
        #endif
    }()

    @Test func counterCounts() {
        var arenas: [ByteArena] = []
        arenas.reserveCapacity(40)
        let count = allocations {
            for _ in 0..<10 { arenas.append(ByteArena(count: 100)) }
        }
        // Each is an object and its memory.
        #expect(count == 20)
        withExtendedLifetime(arenas) {}
    }

    /// A gateway holds three sessions for each of thousands of peers.
    @Test func sessionTakesLittleMemory() {
        let activity = PeerActivity(), key = Secret32()
        let before = allocated_bytes_of_this_thread()
        let session = Session(
            localIndex: 1, remoteIndex: 2, peer: 0, isInitiator: true, createdAt: 0,
            activity: activity, sendKey: key, receiveKey: key)
        let byteCount = allocated_bytes_of_this_thread() - before
        print("a session takes \(byteCount) bytes")
        #expect(byteCount <= 1_638, "1.6 KiB")
        withExtendedLifetime(session) {}
    }

    /// A segmentation frame of 20 packets, to be cut again and again.
    private static let frame = PacketBuilder.tcp4.with {
        $0.payload = PacketBuilder.pattern(1_360 * 20)
    }.bytes

    @Test func cuttingSealingOpeningAndMergingAllocateNothing() {
        let (sender, receiver) = makeSessionPair()
        let cipher = PacketCipher()
        let original = ByteArena(Self.frame)
        let frame = ByteArena(count: Self.frame.count + 16)
        let datagram = ByteArena(count: 64 * 1_500)
        var coalescer = Coalescer(packetCapacity: 64)
        var runCount = 0, packetCount = 0
        let count = allocations {
            frame.whole.copy(from: original.whole)
            guard
                case .segmenter(var segmenter) = Segmenter.make(
                    header: VirtioNetHeader.tcp4Segmentation, frame: frame.whole.prefix(original.whole.count),
                    capacityAfter: 16, paddingLimit: 1_420),
                var counter = sender.reserveCounters(segmenter.segmentCount)
            else { return }
            var offset = 0
            while let packet = segmenter.next() {
                let space = datagram.whole.region(at: offset, count: packet.count + 32)
                offset += 1_500
                let written = sender.seal(
                    counter: counter, packet: packet, into: space, with: cipher)
                guard let inner = receiver.open(datagram: space.prefix(written), with: cipher),
                    receiver.acceptCounter(counter), let header = IPPacket(inner)
                else { return }
                counter += 1
                if coalescer.add(inner.prefix(header.totalCount)) { packetCount += 1 }
            }
            for run in 0..<coalescer.runCount {
                _ = coalescer.prepare(run: run)
                runCount += 1
            }
            coalescer.reset()
        }
        #expect(packetCount == 4 * 20)
        #expect(runCount == 4)
        #expect(count == 0)
        withExtendedLifetime((original, frame, datagram)) {}
    }

    @Test(.enabled(if: isOptimised, "needs a release build"))
    func schedulingAllocatesNothing() {
        var queues = TenantQueues(frameCapacity: 256, quantumBytes: 9_000)
        queues.add(tenant: 0, limits: TenantLimits())
        let packet = ByteArena(PacketBuilder.udp4.bytes)
        var served = 0
        let count = allocations {
            let hash = flowHash(of: packet.whole)
            for slot: Int32 in 0..<256 {
                _ = queues.enqueue(
                    EgressFrame(
                        slot: slot, tenant: 0, trafficClass: .bulk,
                        flow: hash &+ UInt32(slot % 7), byteCount: 1_420, wireByteCount: 1_498),
                    now: 1)
            }
            for _ in 0..<16 where queues.dropFromLongest() != nil { served += 1 }
            while queues.dequeue(now: 2) != nil { served += 1 }
        }
        #expect(served == 4 * 256)
        #expect(count == 0)
    }

    @Test func lookupsAllocateNothing() {
        var allowedIPs = AllowedIPs()
        var random = SeededGenerator(seed: 3)
        for peer: PeerID in 0..<500 {
            let address = IPAddress(ipv4: UInt32(truncatingIfNeeded: random.next()))
            if let prefix = IPPrefix(address, length: 24) { allowedIPs.insert(prefix, peer) }
            let wide = IPAddress(high: random.next(), low: 0)
            if let prefix = IPPrefix(wide, length: 64) { allowedIPs.insert(prefix, peer) }
        }
        let table = RoutingTable(allowedIPs)
        var sessions = SessionTable()
        for index in 0..<100 { sessions.insert(makeSession(UInt32(index) << 8)) }
        let activity = PeerActivity()
        var found = 0
        let count = allocations {
            for step in 0..<1_000 {
                let number = random.next()
                if table.lookup(ipv4: UInt32(truncatingIfNeeded: number)) >= 0 { found += 1 }
                if table.lookup(ipv6High: number, low: 1) >= 0 { found += 1 }
                if sessions[UInt32(step % 100) << 8] != nil { found += 1 }
                _ = activity.packetSent(isData: true, byteCount: 100, now: UInt64(step))
                _ = activity.packetReceived(isData: true, byteCount: 100, now: UInt64(step))
            }
        }
        #expect(found >= 4_000)
        #expect(count == 0)
    }

    /// The whole loop of two workers, system calls and all, in both directions.
    @Test(.enabled(if: isOptimised, "needs a release build"))
    func workersAllocateNothing() throws {
        let pair = try WorkerBenchPair()
        pair.establish()
        let sink = ByteArena(count: 66_000)
        let frame = ByteArena(count: VirtioNetHeader.count + Self.frame.count)
        VirtioNetHeader.tcp4Segmentation.write(to: frame.whole)
        for (offset, byte) in Self.frame.enumerated() {
            frame.whole[VirtioNetHeader.count + offset] = byte
        }
        let acknowledgement = ByteArena(
            [UInt8](repeating: 0, count: VirtioNetHeader.count)
                + PacketBuilder.tcp4.with {
                    $0.source = [10, 0, 0, 2]
                    $0.destination = [10, 0, 0, 1]
                }.bytes)
        // The right sends once it has heard the left.
        _ = pair.left.kernelQueue.write(frame.whole)
        #expect(pair.work { pair.rightSession.isConfirmed })
        _ = pair.right.delivered()
        var delivered = 0
        let count = allocations {
            for _ in 0..<8 {
                _ = pair.left.kernelQueue.write(frame.whole)
                _ = pair.right.kernelQueue.write(acknowledgement.whole)
                // A busy kernel delivers later than it takes.
                var toLeft = 0, toRight = 0, passes = 0
                while (toLeft == 0 || toRight == 0) && passes < 5_000 {
                    if passes >= 3 { usleep(1_000) }
                    passes += 1
                    pair.left.step()
                    pair.right.step()
                    while pair.left.kernelQueue.read(sink.whole) > 0 { toLeft += 1 }
                    while pair.right.kernelQueue.read(sink.whole) > 0 { toRight += 1 }
                }
                delivered += toLeft + toRight
            }
            // What the control thread would take.
            _ = pair.left.inbox.take()
            _ = pair.right.inbox.take()
        }
        #expect(delivered >= 4 * 16)
        #expect(count == 0)
    }
}
