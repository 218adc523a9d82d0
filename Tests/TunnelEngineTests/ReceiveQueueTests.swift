import PacketMemory
import Testing
import WireGuardProtocol

@testable import TunnelEngine

@Suite struct ReceiveQueueTests {
    @Test func waitingPacketsOfATunnelThatEndsAreNobodys() {
        var queue = ReceiveQueue(messageCapacity: 4, packetCapacity: 4)
        let packet = ByteArena(count: 100)
        // Taken packets first, so that the rest lies across the ring's end.
        for _ in 0..<2 { queue.append(packet.whole, of: 0, flow: 7, tunnel: 5) }
        for _ in 0..<2 { _ = queue.next() }
        for tunnel: TunnelID in [5, 6, 5, 6] {
            queue.append(packet.whole, of: 0, flow: 7, tunnel: tunnel)
        }
        queue.disown(5)
        queue.disown(4)
        var taken: [TunnelID] = []
        while let packet = queue.next() { taken.append(packet.tunnel) }
        #expect(taken == [ReceiveQueue.nobody, 6, ReceiveQueue.nobody, 6])
        let mustWait = queue.mustWait(flow: 7)
        #expect(!mustWait)
    }

    @Test func packetsThatComeLaterAreTheNextTunnels() {
        var queue = ReceiveQueue(messageCapacity: 4, packetCapacity: 4)
        let packet = ByteArena(count: 100)
        queue.append(packet.whole, of: 0, flow: 7, tunnel: 5)
        queue.disown(5)
        queue.append(packet.whole, of: 0, flow: 7, tunnel: 5)
        var taken: [TunnelID] = []
        while let packet = queue.next() { taken.append(packet.tunnel) }
        #expect(taken == [ReceiveQueue.nobody, 5])
    }
}
