import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing
import WireGuardConfiguration
import WireGuardProtocol

@testable import TunnelEngine

/// Lines, and what waits for them.
extension WorkerQoSTests {
    @Test func classesAreCountedAsTheyLeave() throws {
        let pair = try established()
        pair.left.post([
            settings { $0.services = [service(.background, port: 1), service(.control, port: 2)] }
        ])
        for serial in 0..<3 { pair.left.offer(datagram(serial, port: 1)) }
        pair.left.offer(datagram(9, port: 2))
        pair.left.offer(datagram(10, port: 3))
        #expect(deliver(5, pair).count == 5)
        let classes = pair.left.counters.classes
        #expect(classes[.packets, .background] == 3)
        #expect(classes[.bytes, .background] == 3 * 128)
        #expect(classes[.packets, .control] == 1)
        #expect(classes[.packets, .token] == 1)
        #expect(classes[.outerMarked, .background] == 0)
        var status = QoSStatus.ClassStatus(trafficClass: .background)
        classes.report(into: &status)
        #expect(status.sojournCounts.reduce(0, +) == 3)
    }

    @Test func innerHeaderShowsTheClassWherePolicyWantsIt() throws {
        let pair = try established()
        let packet = datagram(1, port: 1, trafficClass: 46 << 2 | 2)
        pair.left.post([
            settings {
                $0.services = [service(.background, port: 1)]
                $0.marksInner = true
            }
        ])
        pair.left.offer(packet)
        let marked = try #require(deliver(1, pair).first)
        #expect(dscp(marked) == 1, "lower effort")
        #expect(marked[1] & 3 == 2, "ECN stays")
        #expect(PacketBuilder.slowSum(Array(marked[..<20])) == 0xffff, "as does the checksum")
        #expect(Array(marked[20...]) == Array(packet[20...]))
        #expect(pair.left.counters.classes[.innerMarked, .background] == 1)
        pair.left.post([settings { $0.services = [service(.background, port: 1)] }])
        pair.left.offer(packet)
        #expect(deliver(1, pair) == [packet])
    }

    @Test func frameForASlowLineIsCutBeforeItWaits() throws {
        let pair = try established()
        // About a packet every 12 milliseconds.
        let line = WorkerLine(.init(bitsPerSecond: 1_000_000))
        pair.left.link.post([.setLink(line)])
        let payload = PacketBuilder.pattern(1_360 * 9 + 700)
        pair.left.offer(
            PacketBuilder.tcp4.with { $0.payload = payload }.bytes, header: .tcp4Segmentation)
        pair.left.step()
        let waiting = pair.left.worker.queues.count
        #expect(waiting >= 7 && waiting < 10, "packets, of which the first few left")
        #expect(pair.left.worker.queues.nextEligible != nil, "a sleeping worker wakes for it")
        #expect(pair.left.worker.frames.freeLargeCount == EngineLimits.largeSlots - 1, "spare")
        pair.left.link.post([.setLink(nil)])
        var bytes: [UInt8] = [], flags: [UInt8] = []
        _ = pair.work {
            while let (_, packet) = pair.right.nextDelivered() {
                bytes += packet[40...]
                flags.append(packet[33])
            }
            return bytes.count >= payload.count
        }
        #expect(bytes == payload)
        #expect(pair.left.counters.classes[.packets, .token] == 10)
        #expect(pair.left.worker.frames.freeSmallCount == EngineLimits.smallSlots)
        #expect(pair.left.worker.queues.wireBytesSent >= UInt64(payload.count + 10 * (60 + 40)))
    }

    /// Each packet of a frame that finds no room is one that was dropped, in its class.
    @Test func everyPieceWithoutRoomIsCounted() throws {
        let pair = try established()
        pair.left.link.post([.setLink(WorkerLine(.init(bitsPerSecond: 20_000_000)))])
        pair.left.step()
        let payload = PacketBuilder.pattern(1_360 * 30)
        let packet = PacketBuilder.tcp4.with { $0.payload = payload }.bytes
        let large = pair.left.worker.frames.takeLarge()
        let slot = try #require(large)
        let space = pair.left.worker.frames.space(slot)
        VirtioNetHeader.tcp4Segmentation.write(to: space)
        for (offset, byte) in packet.enumerated() { space[VirtioNetHeader.count + offset] = byte }
        pair.left.worker.frames.setFrameCount(slot, VirtioNetHeader.count + packet.count)
        let view = try #require(
            IPPacket(space.region(at: VirtioNetHeader.count, count: packet.count)))
        let place = pair.left.worker.place(view, segmentByteCount: 1_360, of: 0)
        // What waits for sessions may have all slots.
        var kept: [Int32] = []
        while let small = pair.left.worker.frames.takeSmall() { kept.append(small) }
        pair.left.worker.enqueueRead(slot, place, of: 0)
        let classes = pair.left.counters.classes
        #expect(classes[.overflowDrops, .prompt] == 30)
        #expect(pair.left.counters.events[.queueOverflow] == 30)
        #expect(pair.left.worker.queues.count == 0)
        for slot in kept { pair.left.worker.frames.release(slot) }
    }

    @Test func fastLineTakesFramesWhole() throws {
        let pair = try established()
        pair.left.link.post([.setLink(WorkerLine(.init(bitsPerSecond: 100_000_000_000)))])
        let frame = PacketBuilder.tcp4.with { $0.payload = PacketBuilder.pattern(1_360 * 9) }
        pair.left.offer(frame.bytes, header: .tcp4Segmentation)
        var received: VirtioNetHeader?
        _ = pair.work {
            received = received ?? pair.right.nextDelivered()?.header
            return received != nil
        }
        #expect(received?.gsoType == VirtioNetHeader.gsoTCPv4)
        #expect(pair.left.link.counters.events[.socketSends] == 1)
    }

    @Test func tokensPassWhatWaitsForTheLine() throws {
        let pair = try established()
        pair.left.post([
            settings { $0.services = [service(.bulk, port: 1), service(.token, port: 2)] }
        ])
        pair.left.link.post([.setLink(WorkerLine(.init(bitsPerSecond: 2_000_000)))])
        for serial in 0..<40 { pair.left.offer(datagram(serial, port: 1, byteCount: 1_300)) }
        pair.left.step()
        pair.left.offer(datagram(500, port: 2))
        var order: [UInt16] = []
        _ = pair.work {
            order += pair.right.delivered().map { UInt16($0[22]) << 8 | UInt16($0[23]) }
            return order.contains(2)
        }
        let place = try #require(order.firstIndex(of: 2))
        #expect(place <= 6, "40 packets of 5 ms each waited before it")
    }

    @Test func framesThatWaitForASessionKeepClassAndOrderAndCostNothing() throws {
        let pair = try WorkerBenchPair()
        pair.left.post([settings { $0.services = [service(.prompt, port: 1)] }])
        pair.left.link.post([.setLink(WorkerLine(.init(bitsPerSecond: 1_000_000)))])
        for serial in 0..<20 {
            pair.left.offer(datagram(serial * 1_000, port: 1, byteCount: 1_000 + serial))
        }
        for _ in 0..<50 { pair.left.step() }
        #expect(pair.left.worker.queues.count == 0, "none of them holds the line")
        #expect(pair.left.worker.queues.wireBytesSent == 0)
        pair.left.link.post([.setLink(nil)])
        pair.establish()
        pair.left.post([.sendStaged(WorkerBench.peer, confirming: false)])
        let sizes = deliver(20, pair).map(\.count)
        #expect(sizes == (0..<20).map { 1_028 + $0 })
        #expect(pair.left.counters.classes[.packets, .prompt] == 20)
    }

    @Test func workerSaysWhatWaitsAndWhatFlows() throws {
        let pair = try established()
        pair.left.post([settings { $0.services = [service(.bulk, port: 1)] }])
        var peer = QoSSettings.Peer()
        peer.link = .init(bitsPerSecond: 1_000_000)
        pair.left.post([.setPeerQoS(WorkerBench.peer, PeerQoS(peer, parts: 1))])
        for serial in 0..<20 { pair.left.offer(datagram(serial, port: 1, byteCount: 1_300)) }
        pair.left.step()
        // A pass that is late sends what the line has had time for: after the report.
        let waiting = pair.left.worker.queues.count
        pair.left.post([.report(7, .status), .report(8, .flows(.init()))])
        pair.left.step()
        var reports: [UInt32: WorkerReport] = [:]
        for case .report(0, let number, let report) in pair.left.inbox.take() {
            reports[number] = report
        }
        let status = try #require(reports[7])
        #expect(waiting > 10)
        #expect(status.queues.count == TrafficClass.allCases.count)
        #expect(abs(status.queues[Int(TrafficClass.bulk.rawValue)].packets - waiting) <= 1)
        #expect(status.paths.map(\.peer) == [WorkerBench.peer])
        #expect(status.paths.first.map { $0.wireBytes > 0 } == true)
        #expect(status.flowCapacity == EngineLimits.flowsKnown)
        #expect(reports[8]?.queues.isEmpty == true)
        pair.left.post([.removePeer(WorkerBench.peer), .report(9, .status)])
        pair.left.step()
        for case .report(0, 9, let report) in pair.left.inbox.take() {
            #expect(report.paths.isEmpty)
        }
    }
}
