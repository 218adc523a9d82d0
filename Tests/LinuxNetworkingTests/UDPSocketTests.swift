import CLinux
import Glibc
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite(.enabled(if: isRoot, "needs root"))
struct UDPSocketTests {
    @Test(arguments: ["127.0.0.1", "::1"])
    func segmentedRunArrivesAsOneMessageWithItsSegmentSize(_ target: String) throws {
        try inNewNamespace {
            let pair = try Pair(target)
            let payload = transportData(receiverIndex: 0, count: 1_000 * 7 + 300)
            try pair.sendBatched(payload, segmentByteCount: 1_000)
            let batch = ReceiveBatch(messageCapacity: 4)
            try #require(receive(1, into: batch, from: pair.receiver.dataSockets[0]) == 1)
            #expect(batch.region(0).bytes == payload)
            #expect(batch.segmentByteCount(0) == 1_000)
            #expect(!batch.isTruncated(0))
        }
    }

    @Test func singleDatagramHasNoSegmentSize() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            try pair.sendBatched([9, 9, 9], segmentByteCount: 0)
            try pair.sendBatched([8, 8, 8], segmentByteCount: 3)
            let batch = ReceiveBatch(messageCapacity: 4)
            try #require(receive(2, into: batch, from: pair.receiver.controlSocket) == 2)
            #expect(batch.region(0).bytes == [9, 9, 9])
            #expect(batch.segmentByteCount(0) == 0)
            #expect(batch.region(1).bytes == [8, 8, 8])
            #expect(batch.segmentByteCount(1) == 0)
        }
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func trafficClassArrivesWithItsECNBits(_ target: String) throws {
        try inNewNamespace {
            let pair = try Pair(target)
            let batch = ReceiveBatch(messageCapacity: 1)
            for trafficClass: UInt8 in [0x00, 0x01, 0x02, 0x03, 0x88, 0xba] {
                ByteArena.withCopy(of: [1]) {
                    #expect(
                        pair.sender.controlSocket.send(
                            $0, to: pair.destination, trafficClass: trafficClass) == 1)
                }
                try #require(receive(1, into: batch, from: pair.receiver.controlSocket) == 1)
                #expect(batch.trafficClass(0) == trafficClass)
                #expect(batch.outerECN(0) == ECN(trafficClass: trafficClass))
            }
        }
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func sourceAndLocalAddressAreTold(_ target: String) throws {
        try inNewNamespace {
            let pair = try Pair(target)
            let before = Clock.realtimeNanoseconds()
            try pair.sendBatched([1], segmentByteCount: 0)
            let batch = ReceiveBatch(messageCapacity: 1)
            try #require(receive(1, into: batch, from: pair.receiver.controlSocket) == 1)
            let own = try address(target)
            #expect(batch.source(0) == Endpoint(address: own, port: pair.sender.port, scope: 0))
            #expect(batch.localAddress(0)?.address == own)
            #expect(batch.localAddress(0)?.interfaceIndex == 0)
            #expect(batch.arrivalNanoseconds(0) >= before)
            #expect(batch.arrivalNanoseconds(0) <= Clock.realtimeNanoseconds())
        }
    }

    @Test(arguments: [("127.0.0.2", "127.0.0.1"), ("fd00::2", "fd00::1")])
    func replyLeavesFromTheAddressThatWasAddressed(_ asked: String, _ client: String) throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            for text in ["fd00::1", "fd00::2"] {
                try netlink.addAddress(
                    InterfaceAddress(address(text), prefixLength: 128), device: 1)
            }
            let pair = try Pair(asked, from: client)
            let batch = ReceiveBatch(messageCapacity: 1)
            // A new IPv6 address takes a moment to be reachable.
            try #require(
                eventually {
                    _ = pair.trySend([1])
                    return pair.receiver.controlSocket.receive(batch, limit: 1) == 1
                })
            #expect(try batch.source(0).address == address(client))
            let reply = Destination(replyingTo: batch, message: 0)
            #expect(reply.matches(batch, 0))
            let sourceless = Destination(reply.endpoint, family: pair.receiver.family)
            #expect(try !#require(sourceless).matches(batch, 0))
            ByteArena.withCopy(of: [2]) {
                #expect(pair.receiver.controlSocket.send($0, to: reply) == 1)
            }
            try #require(receive(1, into: batch, from: pair.sender.controlSocket) == 1)
            #expect(try batch.source(0).address == address(asked))
            #expect(!reply.matches(batch, 0))
        }
    }

    @Test func refusedSourceIsLeftOutAndReported() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            let gone = LocalAddress(address: try address("192.0.2.1"), interfaceIndex: 1)
            let destination = try #require(
                Destination(pair.endpoint, family: .dualStack, source: gone))
            let batch = SendBatch(capacity: 4)
            ByteArena.withCopy(of: [1, 2, 3, 4]) { bytes in
                for segment in [0, 2] {
                    #expect(
                        batch.append(
                            region: bytes, segmentByteCount: segment, to: destination,
                            trafficClass: 0x02))
                }
                #expect(batch.flush(on: pair.sender.controlSocket) == 2)
            }
            #expect(batch.incidentCount == 2)
            for index in 0..<2 {
                #expect(batch.incident(index).isSentWithoutSource)
                #expect(batch.incident(index).message == index)
            }
            let received = ReceiveBatch(messageCapacity: 4)
            try #require(receive(2, into: received, from: pair.receiver.controlSocket) >= 2)
            #expect(received.outerECN(0) == ECN(trafficClass: 2))
            #expect(!batch.isSegmentationDisabled)
        }
    }

    @Test func unreachableMessageIsSkippedAndReported() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            let nowhere = try #require(
                Destination(
                    Endpoint(address: address("198.51.100.1"), port: 1, scope: 0),
                    family: .dualStack))
            let batch = SendBatch(capacity: 3)
            ByteArena.withCopy(of: [7]) { bytes in
                for destination in [pair.destination, nowhere, pair.destination] {
                    #expect(
                        batch.append(
                            region: bytes, segmentByteCount: 0, to: destination, trafficClass: 0))
                }
                #expect(
                    !batch.append(
                        region: bytes, segmentByteCount: 0, to: nowhere, trafficClass: 0))
                #expect(batch.flush(on: pair.sender.controlSocket) == 2)
            }
            #expect(batch.count == 0)
            #expect(batch.incidentCount == 1)
            #expect(batch.incident(0).message == 1)
            #expect(batch.incident(0).errno == ENETUNREACH)
            #expect(!batch.incident(0).isSentWithoutSource)
            let received = ReceiveBatch(messageCapacity: 4)
            try #require(receive(2, into: received, from: pair.receiver.controlSocket) == 2)
        }
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func runBeyondTheMTUIsSentInPiecesThatTheKernelFragments(_ target: String) throws {
        try inNewNamespace(loopbackMTU: 1_280) {
            let pair = try Pair(target)
            let payload = transportData(receiverIndex: 0, count: 2 * 1_400 + 50)
            try pair.sendBatched(payload, segmentByteCount: 1_400)
            #expect(try pair.collect(1, from: pair.receiver.dataSockets[0]) == [payload[..<1_400]])
            // The other pieces begin with bytes that are no transport data.
            #expect(
                try pair.collect(2, from: pair.receiver.controlSocket)
                    == [payload[1_400..<2_800], payload[2_800...]])
            #expect(!pair.batch.isSegmentationDisabled)
        }
    }

    @Test func moreSegmentsThanTheKernelTakesAreSentInPieces() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            #expect([64, 128].contains(pair.sender.offloads.segmentCountMax))
            let count = pair.sender.offloads.segmentCountMax
            try pair.sendBatched(pattern(count * 2), segmentByteCount: 2)
            #expect(pair.batch.incidentCount == 0)
            #expect(try pair.collect(1, from: pair.receiver.controlSocket).count == 1)
            try pair.sendBatched(pattern(count * 2 + 1), segmentByteCount: 2)
            let pieces = try pair.collect(count + 1, from: pair.receiver.controlSocket)
            #expect(pieces.count == count + 1)
        }
    }

    @Test func disabledSegmentationSendsThePiecesInOrder() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            pair.batch.disableSegmentation(error: EIO)
            let payload = pattern(100 * 70 + 1)
            try pair.sendBatched(payload, segmentByteCount: 100)
            let pieces = try pair.collect(71, from: pair.receiver.controlSocket)
            #expect(pieces.count == 71)
            #expect(pieces.flatMap { $0 } == payload)
            #expect(pair.batch.segmentationError == EIO)
        }
    }

    @Test(.enabled(if: access("/usr/sbin/tc", X_OK) == 0), arguments: [false, true])
    func fullSendBufferKeepsTheRestForLater(_ inPieces: Bool) throws {
        try inNewNamespace {
            try limitLoopbackRate()
            let pair = try Pair("127.0.0.1")
            try pair.sender.controlSocket.setSendBuffer(byteCount: 10_000)
            if inPieces { pair.batch.disableSegmentation(error: EIO) }
            let payload = pattern(16 * 1_000)
            try ByteArena.withCopy(of: payload) { bytes in
                for index in 0..<(inPieces ? 1 : 16) {
                    let part =
                        inPieces ? bytes : bytes.region(at: index * 1_000, count: 1_000)
                    #expect(
                        pair.batch.append(
                            region: part, segmentByteCount: 1_000, to: pair.destination,
                            trafficClass: 0))
                }
                var refusals = 0
                let isSent = eventually {
                    let sent = pair.batch.flush(on: pair.sender.controlSocket)
                    #expect(sent >= 0 || sent == -Int(EAGAIN))
                    refusals += sent == -Int(EAGAIN) ? 1 : 0
                    return pair.batch.count == 0
                }
                #expect(isSent)
                try #require(refusals > 0)
            }
            #expect(pair.batch.incidentCount == 0)
            var received: [UInt8] = []
            while received.count < payload.count {
                let messages = try pair.collect(1, from: pair.receiver.controlSocket)
                try #require(!messages.isEmpty)
                received += messages.flatMap { $0 }
            }
            #expect(received == payload)
        }
    }

    @Test func oneMessageSendFallsBackToPieces() throws {
        try inNewNamespace(loopbackMTU: 1_000) {
            let pair = try Pair("127.0.0.1")
            let payload = pattern(3_000)
            ByteArena.withCopy(of: payload) {
                #expect(
                    pair.sender.controlSocket.send(
                        $0, segmentByteCount: 1_400, to: pair.destination) == 3_000)
            }
            let pieces = try pair.collect(3, from: pair.receiver.controlSocket)
            #expect(pieces.map(\.count) == [1_400, 1_400, 200])
            #expect(pieces.flatMap { $0 } == payload)
        }
    }

    @Test func longerMessageThanTheBufferIsMarkedTruncated() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            let batch = ReceiveBatch(messageCapacity: 2, bytesPerMessage: 100)
            for count in [101, 100] { try pair.sendBatched(pattern(count), segmentByteCount: 0) }
            try #require(receive(2, into: batch, from: pair.receiver.controlSocket) == 2)
            #expect(batch.isTruncated(0))
            #expect(batch.region(0).bytes == Array(pattern(101)[..<100]))
            #expect(!batch.isTruncated(1))
            #expect(batch.region(1).count == 100)
        }
    }

    @Test func placesAreWholeAgainAfterEveryCall() throws {
        try inNewNamespace {
            let pair = try Pair("::1")
            let ipv4 = try Pair("127.0.0.1", receiver: pair.receiver)
            let batch = ReceiveBatch(messageCapacity: 8)
            for round in 0..<10 {
                let sender = round % 2 == 0 ? pair : ipv4
                for _ in 0...round % 4 {
                    try sender.sendBatched(pattern(round + 1), segmentByteCount: 0)
                }
                let count = round % 4 + 1
                try #require(
                    receive(count, into: batch, from: pair.receiver.controlSocket) == count)
                for index in 0...round % 4 {
                    #expect(batch.source(index).address == sender.endpoint.address)
                    #expect(batch.localAddress(index)?.address == sender.endpoint.address)
                    #expect(batch.region(index).count == round + 1)
                }
            }
            let socket = pair.receiver.controlSocket
            #expect(socket.receive(batch, limit: 8) == -Int(EAGAIN))
        }
    }

    @Test func messagesGoToThePlacesThatAreAskedFor() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            let batch = ReceiveBatch(messageCapacity: 4)
            let socket = pair.receiver.controlSocket
            for count in 1...3 { try pair.sendBatched(pattern(count), segmentByteCount: 0) }
            // One for place 1, then as many as there are behind place 2.
            #expect(eventually { socket.receive(batch, at: 1, limit: 1) == 1 })
            #expect(receive(2, into: batch, from: socket, at: 2) == 2)
            #expect((1...3).map { batch.region($0).count } == [1, 2, 3])
            #expect(socket.receive(batch, at: 3, limit: 8) == -Int(EAGAIN))
            #expect(batch.region(3).count == 3, "what lies there stays when nothing comes")
        }
    }

    @Test func fullReceiveBufferIsCounted() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.1")
            let socket = pair.receiver.controlSocket
            let size = try socket.setReceiveBuffer(byteCount: 20_000)
            #expect((20_000...21_000).contains(size))
            #expect(socket.receiveQueueOverflows == 0)
            for _ in 0..<100 { try pair.sendBatched(pattern(1_000), segmentByteCount: 0) }
            #expect(eventually { (socket.receiveQueueOverflows ?? 0) > 50 })
            #expect(eventually { pair.receiver.kernelDropCount == socket.receiveQueueOverflows })
        }
    }
}

/// Makes datagrams wait in the sending socket: a shaper holds the loopback device to
/// 200 kbit/s, so that even a thread that stands still for a while does not send all at once.
private func limitLoopbackRate() throws {
    let words = "tc qdisc add dev lo root tbf rate 200kbit burst 2000 limit 100000"
    var arguments = words.split(separator: " ").map { strdup(String($0)) } + [nil]
    defer { arguments.forEach { free($0) } }
    var child = pid_t()
    try #require(posix_spawn(&child, "/usr/sbin/tc", nil, nil, &arguments, nil) == 0)
    var status: Int32 = -1
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    try #require(status == 0)
}

/// Two socket groups, one of which sends to the other.
struct Pair {
    let sender: UDPSocketGroup
    let receiver: UDPSocketGroup
    let endpoint: Endpoint
    let destination: Destination
    let batch = SendBatch(capacity: 16)

    init(
        _ target: String, from source: String? = nil, dataSockets: Int = 1,
        receiver: UDPSocketGroup? = nil, family: SocketFamily = .dualStack
    ) throws {
        sender = try UDPSocketGroup.bind(port: 0, workerCount: 1, family: family)
        self.receiver =
            try receiver
            ?? UDPSocketGroup.bind(port: 0, workerCount: dataSockets, family: family)
        endpoint = Endpoint(address: try address(target), port: self.receiver.port, scope: 0)
        let local = try source.map {
            LocalAddress(address: try address($0), interfaceIndex: 1)
        }
        destination = try #require(
            Destination(endpoint, family: sender.family, source: local))
    }

    func sendBatched(_ bytes: [UInt8], segmentByteCount: Int) throws {
        ByteArena.withCopy(of: bytes) {
            #expect(
                batch.append(
                    region: $0, segmentByteCount: segmentByteCount, to: destination,
                    trafficClass: 0))
            #expect(batch.flush(on: sender.controlSocket) == 1)
        }
    }

    func trySend(_ bytes: [UInt8]) -> Int {
        ByteArena.withCopy(of: bytes) { sender.controlSocket.send($0, to: destination) }
    }

    /// All messages that wait at `socket`, once `count` have come.
    func collect(_ count: Int, from socket: UDPSocket) throws -> [ArraySlice<UInt8>] {
        let batch = ReceiveBatch(messageCapacity: 64)
        var messages: [ArraySlice<UInt8>] = []
        _ = eventually {
            messages += waiting(at: socket, batch)
            return messages.count >= count
        }
        return messages
    }

    private func waiting(at socket: UDPSocket, _ batch: ReceiveBatch) -> [ArraySlice<UInt8>] {
        var messages: [ArraySlice<UInt8>] = []
        while case let received = socket.receive(batch, limit: 64), received > 0 {
            messages += (0..<received).map { batch.region($0).bytes[...] }
        }
        return messages
    }
}

/// Bytes that begin like a WireGuard transport data message.
func transportData(receiverIndex: UInt8, count: Int) -> [UInt8] {
    var bytes = pattern(count)
    bytes.replaceSubrange(0..<min(5, count), with: [4, 0, 0, 0, receiverIndex].prefix(count))
    return bytes
}
