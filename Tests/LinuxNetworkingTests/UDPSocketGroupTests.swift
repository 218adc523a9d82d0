import CLinux
import Glibc
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite(.enabled(if: isRoot, "needs root"))
struct UDPSocketGroupTests {
    @Test(arguments: [1, 2, 3, 4], ["127.0.0.1", "::1"])
    func transportDataGoesToTheSocketOfItsReceiverIndex(
        _ socketCount: Int, _ target: String
    ) throws {
        try inNewNamespace {
            let pair = try Pair(target, dataSockets: socketCount)
            #expect(pair.receiver.dataSockets.count == socketCount)
            let batch = ReceiveBatch(messageCapacity: 8)
            for index: UInt8 in [0, 1, 2, 3, 4, 5, 127, 128, 254, 255] {
                let bytes = transportData(receiverIndex: index, count: 32)
                try pair.sendBatched(bytes, segmentByteCount: 0)
                let socket = pair.receiver.dataSockets[Int(index) % socketCount]
                try #require(receive(1, into: batch, from: socket) == 1)
                #expect(batch.region(0).bytes == bytes)
            }
            try expectEmpty(pair.receiver)
        }
    }

    @Test(arguments: [1, 2, 3], [1, 2, 5, 128])
    func theSecondByteOfAnIndexSelectsTheLane(_ workerCount: Int, _ laneCount: Int) throws {
        try inNewNamespace {
            let group = try UDPSocketGroup.bind(
                port: 0, workerCount: workerCount, laneCount: laneCount)
            defer { group.close() }
            let pair = try Pair("127.0.0.1", receiver: group)
            let batch = ReceiveBatch(messageCapacity: 2)
            for (low, second) in [(0, 0), (1, 0), (0, 1), (7, 9), (200, 131), (255, 255)] {
                let bytes: [UInt8] = [4, 0, 0, 0, UInt8(low), UInt8(second)] + pattern(26)
                try pair.sendBatched(bytes, segmentByteCount: 0)
                let lanes = group.lanes(ofWorker: low % workerCount)
                try #require(lanes.count == laneCount)
                try #require(receive(1, into: batch, from: lanes[second % laneCount]) == 1)
                #expect(batch.region(0).bytes == bytes)
            }
            try expectEmpty(group)
        }
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func everythingElseGoesToTheControlSocket(_ target: String) throws {
        try inNewNamespace {
            let pair = try Pair(target, dataSockets: 3)
            let others: [[UInt8]] =
                (0...7).map { transportData(receiverIndex: 0, count: $0) }
                + [0, 1, 2, 3, 5, 255].map { [$0] + pattern(147) }
            let batch = ReceiveBatch(messageCapacity: 1)
            for bytes in others {
                try pair.sendBatched(bytes, segmentByteCount: 0)
                try #require(receive(1, into: batch, from: pair.receiver.controlSocket) == 1)
                #expect(batch.region(0).bytes == bytes)
            }
            let shortest = transportData(receiverIndex: 1, count: 8)
            try pair.sendBatched(shortest, segmentByteCount: 0)
            try #require(receive(1, into: batch, from: pair.receiver.dataSockets[1]) == 1)
            try expectEmpty(pair.receiver)
        }
    }

    @Test func socketsWithoutIPv6DoTheSame() throws {
        try inNewNamespace {
            let pair = try Pair("127.0.0.2", from: "127.0.0.3", dataSockets: 2, family: .ipv4)
            #expect(pair.receiver.family == .ipv4)
            let batch = ReceiveBatch(messageCapacity: 2)
            let payload = transportData(receiverIndex: 3, count: 2_500)
            try pair.sendBatched(payload, segmentByteCount: 1_000)
            try #require(receive(1, into: batch, from: pair.receiver.dataSockets[1]) == 1)
            #expect(batch.region(0).bytes == payload)
            #expect(batch.segmentByteCount(0) == 1_000)
            #expect(try batch.source(0).address == address("127.0.0.3"))
            #expect(try batch.localAddress(0)?.address == address("127.0.0.2"))
            let reply = Destination(replyingTo: batch, message: 0)
            #expect(reply.matches(batch, 0))
            ByteArena.withCopy(of: [1, 2]) {
                #expect(
                    pair.receiver.dataSockets[0].send($0, to: reply, trafficClass: 0xbb) == 2)
            }
            try #require(receive(1, into: batch, from: pair.sender.controlSocket) == 1)
            #expect(batch.trafficClass(0) == 0xbb)
            #expect(batch.source(0) == pair.endpoint)
            #expect(batch.arrivalNanoseconds(0) > 0)
            #expect(throws: UDPSocketError.portInUse(pair.receiver.port)) {
                try UDPSocketGroup.bind(port: pair.receiver.port, workerCount: 1)
            }
        }
    }

    @Test func portZeroGivesAllSocketsTheSameFreePort() throws {
        try inNewNamespace {
            let group = try UDPSocketGroup.bind(port: 0, workerCount: 2)
            #expect(group.port != 0)
            #expect(group.family == .dualStack)
            #expect(group.fallbacks == [])
            #expect(group.offloads.segmentation && group.offloads.receiveCoalescing)
            for socket in group.dataSockets + [group.controlSocket] {
                #expect(localPort(socket.fileDescriptor) == group.port)
            }
        }
    }

    @Test func portOfAnotherGroupIsInUse() throws {
        try inNewNamespace {
            let first = try UDPSocketGroup.bind(port: 51_820, workerCount: 1)
            #expect(throws: UDPSocketError.portInUse(51_820)) {
                try UDPSocketGroup.bind(port: 51_820, workerCount: 1)
            }
            first.close()
            // A process that another test starts has copies of the sockets for a moment.
            #expect(
                eventually {
                    (try? UDPSocketGroup.bind(port: 51_820, workerCount: 1))?.port == 51_820
                })
        }
    }

    @Test(arguments: [AF_INET, AF_INET6])
    func portOfASharingStrangerIsInUse(_ family: Int32) throws {
        try inNewNamespace {
            let stranger = socket(family, Int32(CLINUX_SOCK_DGRAM), 0)
            defer { close(stranger) }
            var one: Int32 = 1
            setsockopt(stranger, SOL_SOCKET, SO_REUSEPORT, &one, 4)
            bindToAnyAddress(stranger, family, port: 7_000)
            #expect(throws: UDPSocketError.portInUse(7_000)) {
                try UDPSocketGroup.bind(port: 7_000, workerCount: 2)
            }
        }
    }

    @Test func ordinarySocketCannotTakeTheGroupsPort() throws {
        try inNewNamespace {
            let group = try UDPSocketGroup.bind(port: 0, workerCount: 2)
            let stranger = socket(AF_INET, Int32(CLINUX_SOCK_DGRAM), 0)
            defer { close(stranger) }
            #expect(bindToAnyAddress(stranger, AF_INET, port: group.port) == EADDRINUSE)
        }
    }

    @Test func portInUseSaysWhatToDo() {
        let text = "\(UDPSocketError.portInUse(51_820))"
        #expect(text.contains("UDP port 51820 is in use"))
        #expect(text.contains("ss -lunp"))
    }

    @Test func firewallMarkIsOnEverySocketAndCanChange() throws {
        try inNewNamespace {
            let group = try UDPSocketGroup.bind(port: 0, workerCount: 2, firewallMark: 0xca6c)
            let sockets = group.dataSockets + [group.controlSocket]
            #expect(sockets.map { option($0.fileDescriptor, SO_MARK) } == [0xca6c, 0xca6c, 0xca6c])
            try group.setFirewallMark(0)
            #expect(sockets.map { option($0.fileDescriptor, SO_MARK) } == [0, 0, 0])
        }
    }

    @Test func firewallMarkThatOneSocketRefusesIsOnNone() throws {
        try inNewNamespace {
            let group = try UDPSocketGroup.bind(port: 0, workerCount: 2, firewallMark: 7)
            let null = open("/dev/null", O_RDWR | O_CLOEXEC)
            defer { close(null) }
            #expect(dup2(null, group.controlSocket.fileDescriptor) >= 0)
            #expect(throws: UDPSocketError.self) { try group.setFirewallMark(8) }
            #expect(group.dataSockets.map { option($0.fileDescriptor, SO_MARK) } == [7, 7])
        }
    }

    @Test func wantedBufferSizesAreGranted() throws {
        try inNewNamespace {
            let buffers = UDPSocketGroup.Buffers(
                receiveByteCount: 16 << 20, sendByteCount: 12 << 20)
            let group = try UDPSocketGroup.bind(port: 0, workerCount: 1, buffers: buffers)
            #expect(group.fallbacks == [])
            #expect(option(group.controlSocket.fileDescriptor, SO_RCVBUF) == 16 << 20)
            #expect(option(group.controlSocket.fileDescriptor, SO_SNDBUF) == 12 << 20)
        }
    }

    @Test func destinationWithoutIPv6RefusesIPv6Endpoints() throws {
        let ipv6 = Endpoint(address: try address("2001:db8::1"), port: 1, scope: 0)
        #expect(Destination(ipv6, family: .ipv4) == nil)
        #expect(Destination(ipv6, family: .dualStack)?.endpoint == ipv6)
        let ipv4 = Endpoint(address: try address("192.0.2.7"), port: 51_820, scope: 0)
        #expect(Destination(ipv4, family: .ipv4)?.endpoint == ipv4)
        #expect(Destination(ipv4, family: .dualStack)?.endpoint == ipv4)
        let scoped = Endpoint(address: try address("fe80::1"), port: 9, scope: 3)
        #expect(Destination(scoped, family: .dualStack)?.endpoint == scoped)
    }
}

private func expectEmpty(_ group: UDPSocketGroup) throws {
    let batch = ReceiveBatch(messageCapacity: 1)
    for socket in group.dataSockets + [group.controlSocket] {
        #expect(socket.receive(batch, limit: 1) == -Int(EAGAIN))
    }
}

private func option(_ descriptor: Int32, _ name: Int32) -> Int32 {
    var value: Int32 = -1
    var count = socklen_t(4)
    getsockopt(descriptor, SOL_SOCKET, name, &value, &count)
    return value
}

private func localPort(_ descriptor: Int32) -> UInt16 {
    var name = sockaddr_in6()
    var count = socklen_t(MemoryLayout<sockaddr_in6>.size)
    _ = withUnsafeMutablePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            getsockname(descriptor, $0, &count)
        }
    }
    return UInt16(bigEndian: name.sin6_port)
}

/// - Returns: 0 or errno.
@discardableResult
private func bindToAnyAddress(_ descriptor: Int32, _ family: Int32, port: UInt16) -> Int32 {
    var ipv6 = sockaddr_in6()
    ipv6.sin6_family = sa_family_t(family)
    // The port lies at the same place in both kinds of address.
    ipv6.sin6_port = port.bigEndian
    let count = family == AF_INET6 ? 28 : 16
    let status = withUnsafePointer(to: &ipv6) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(count))
        }
    }
    return status == 0 ? 0 : errno
}
