import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import TunnelEngine
@testable import WireGuardProtocol

@Suite struct HandshakeOutboxTests {
    private let longest = ImplementationLimits.handshakeMessageByteMax

    private func message(_ count: Int, _ serial: Int) -> HandshakeMessage {
        let arena = ByteArena(count: longest)
        for offset in 0..<longest {
            arena.whole[offset] = UInt8(truncatingIfNeeded: offset + serial)
        }
        return HandshakeMessage(kind: .initiation, message: arena.whole.prefix(count))
    }

    private func place(_ group: UDPSocketGroup) throws -> Destination {
        let endpoint = Endpoint(address: IPAddress(ipv4: 0x7f00_0001), port: group.port)
        return try #require(Destination(endpoint, family: group.family))
    }

    @Test func messagesArriveWholeAndInOrder() throws {
        let group = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        defer { group.close() }
        let destination = try place(group)
        var outbox = HandshakeOutbox()
        let messages = [148, 92, 64, 1, longest].enumerated().map { message($1, $0 + 1) }
        for message in messages { outbox.append(message, to: destination) }
        let failed = outbox.flush(on: group.controlSocket, trafficClass: 0x88)
        #expect(failed == 0)
        var received: [[UInt8]] = []
        let batch = ReceiveBatch(messageCapacity: 8)
        let isComplete = eventually {
            let count = group.controlSocket.receive(batch, limit: 8)
            for index in 0..<max(count, 0) {
                #expect(batch.trafficClass(index) == 0x88)
                received.append(batch.region(index).bytes)
            }
            return received.count >= messages.count
        }
        #expect(isComplete)
        #expect(received == messages.map(\.bytes))
        let again = outbox.flush(on: group.controlSocket, trafficClass: 0)
        #expect(again == 0)
        #expect(group.controlSocket.receive(batch, limit: 8) < 0, "nothing is sent twice")
    }

    @Test func outboxIsFullAtItsLimitAndEmptyAfterwards() throws {
        let group = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        defer { group.close() }
        let destination = try place(group)
        var outbox = HandshakeOutbox()
        for serial in 0..<EngineLimits.handshakesPerPass {
            #expect(!outbox.isFull)
            outbox.append(message(148, serial), to: destination)
        }
        #expect(outbox.isFull)
        outbox.append(message(148, 0), to: destination)
        let failed = outbox.flush(on: group.controlSocket, trafficClass: 0)
        #expect(failed == 0)
        #expect(!outbox.isFull)
    }

    @Test func resetDropsWhatWaited() throws {
        let group = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        defer { group.close() }
        var outbox = HandshakeOutbox()
        outbox.append(message(148, 0), to: try place(group))
        outbox.reset()
        _ = outbox.flush(on: group.controlSocket, trafficClass: 0)
        let batch = ReceiveBatch(messageCapacity: 1)
        #expect(group.controlSocket.receive(batch, limit: 1) < 0)
    }

    @Test func messageThatCannotLeaveIsCounted() throws {
        let group = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        defer { group.close() }
        // The kernel refuses port 0.
        let nowhere = Endpoint(address: IPAddress(ipv4: 0x7f00_0001), port: 0)
        var outbox = HandshakeOutbox()
        outbox.append(
            message(148, 0), to: try #require(Destination(nowhere, family: group.family)))
        outbox.append(message(92, 0), to: try place(group))
        let failed = outbox.flush(on: group.controlSocket, trafficClass: 0)
        #expect(failed == 1)
    }
}
