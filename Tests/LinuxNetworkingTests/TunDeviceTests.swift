import Glibc
import LinuxNetworking
import PacketFormats
import PacketMemory
import Synchronization
import TestSupport
import Testing

@Suite(.enabled(if: isRoot, "needs root"))
struct TunDeviceTests {
    @Test(arguments: [1, 2, 4])
    func deviceHasTheWantedQueuesAndOffloads(_ queueCount: Int) throws {
        try inNewNamespace {
            let tun = try TunDevice.create(name: "bltun0", queueCount: queueCount)
            #expect(tun.name == "bltun0")
            #expect(tun.queues.count == queueCount)
            #expect(Set(tun.queues.map(\.fileDescriptor)).count == queueCount)
            #expect(tun.hasVirtioHeader)
            #expect(tun.offloads.isSuperset(of: [.checksum, .tcp]))
            #expect(tun.fallbacks.isEmpty == (tun.offloads == .all))
            #expect(try RoutingNetlink().linkByName("bltun0").index == tun.interfaceIndex)
        }
    }

    @Test func deviceGoesAwayWhenItIsClosed() throws {
        try inNewNamespace {
            let tun = try TunDevice.create(name: "bltun0", queueCount: 2)
            tun.close()
            let netlink = try RoutingNetlink()
            #expect(isGone("bltun0", netlink))
            let again = try TunDevice.create(name: "bltun0")
            #expect(again.queues.count == 1)
        }
    }

    @Test(arguments: [1, 2], [1, 2])
    func busyNameIsInUse(_ firstQueues: Int, _ secondQueues: Int) throws {
        try inNewNamespace {
            let first = try TunDevice.create(name: "bltun0", queueCount: firstQueues)
            #expect(throws: TunError.nameInUse("bltun0")) {
                try TunDevice.create(name: "bltun0", queueCount: secondQueues)
            }
            #expect(throws: TunError.nameInUse("lo")) {
                try TunDevice.create(name: "lo", queueCount: secondQueues)
            }
            first.close()
        }
    }

    @Test func idlePersistentDeviceIsTakenOverWithTheQueueItHas() throws {
        try inNewNamespace {
            let made = try TunDevice.create(name: "bltun0")
            try setPersistent(true, tunDescriptor: made.queues[0].fileDescriptor)
            made.close()
            // A process that another test starts has a copy of the queue for a moment.
            var found: TunDevice?
            _ = eventually {
                found = try? TunDevice.create(name: "bltun0", queueCount: 2)
                return found != nil
            }
            let taken = try #require(found)
            #expect(taken.interfaceIndex == made.interfaceIndex)
            #expect(taken.queues.count == 1)
            #expect(taken.fallbacks.contains { $0.contains("one TUN queue instead of 2") })
            try setPersistent(false, tunDescriptor: taken.queues[0].fileDescriptor)
        }
    }

    @Test func fewerOffloadsAreGivenAsWanted() throws {
        try inNewNamespace {
            let tun = try TunDevice.create(name: "bltun0", wanted: [.checksum, .tcp])
            #expect(tun.offloads == [.checksum, .tcp])
            #expect(tun.fallbacks == [])
            #expect("\(tun.offloads)" == "checksum tcp4 tcp6")
        }
    }

    @Test(arguments: [
        "", ".", "..", "a/b", "a b", "wg%d", "sixteen-bytes-xx", "nul\0", "büro",
    ])
    func nameThatCannotBeGivenIsRefusedWithAReason(_ name: String) throws {
        let error = #expect(throws: TunError.self) { try TunDevice.create(name: name) }
        guard case .invalidName(name, let reason) = error else {
            Issue.record("unexpected error \(String(describing: error))")
            return
        }
        #expect("\(TunError.invalidName(name, reason: reason))".contains(reason))
    }

    @Test(arguments: ["fifteen-bytes-x", "w", "wg0", "...", "_=+.-"])
    func everyOtherNameIsTheDevices(_ name: String) throws {
        try inNewNamespace {
            let tun = try TunDevice.create(name: name)
            #expect(tun.name == name)
        }
    }

    @Test func adoptedDescriptorServesAsTheDevice() throws {
        try inNewNamespace {
            let tun = try TunDevice.create(name: "bltun0")
            let adopted = try TunDevice.adopt(fileDescriptor: dup(tun.queues[0].fileDescriptor))
            #expect(adopted.name == "bltun0")
            #expect(adopted.interfaceIndex == tun.interfaceIndex)
            #expect(adopted.offloads == tun.offloads)
            #expect(adopted.hasVirtioHeader)
            adopted.close()
            #expect(try RoutingNetlink().linkByName("bltun0").index == tun.interfaceIndex)
        }
    }

    @Test func descriptorsOfOtherKindsAreNotAdopted() throws {
        for descriptor in [open("/dev/null", O_RDWR), open("/dev/net/tun", O_RDWR), Int32.max] {
            let error = #expect(throws: TunError.self) {
                try TunDevice.adopt(fileDescriptor: descriptor)
            }
            #expect("\(try #require(error))".contains("cannot serve as TUN device"))
        }
    }

    @Test func refusedDescriptorIsClosed() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        // A process that another test starts must not keep the writing end.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        #expect(throws: TunError.self) { try TunDevice.adopt(fileDescriptor: ends[1]) }
        var byte: UInt8 = 0
        #expect(read(ends[0], &byte, 1) == 0, "a pipe ends when its writing end is closed")
    }

    @Test func datagramsCrossTheDeviceBothWays() throws {
        try inNewNamespace {
            let tun = try configuredDevice()
            let queue = tun.queues[0]
            let group = try UDPSocketGroup.bind(port: 4_000, workerCount: 1)
            let peer = Endpoint(address: try address("10.9.0.2"), port: 4_000, scope: 0)
            let destination = try #require(Destination(peer, family: group.family))
            let payload = pattern(100)
            ByteArena.withCopy(of: payload) {
                #expect(group.controlSocket.send($0, to: destination, trafficClass: 2) == 100)
            }
            let arena = ByteArena(count: 65_600)
            let frame = try readPacket(queue, into: arena)
            let packet = frame.region(from: VirtioNetHeader.count)
            #expect(packet.count == 128)
            #expect(packet[1] == 2, "traffic class")
            #expect(packet.bigEndian16(at: 6) & 0x4000 == 0, "Don't Fragment is not set")
            #expect(Array(packet.bytes[28...]) == payload)

            answer(packet)
            #expect(queue.write(frame) == frame.count)
            let batch = ReceiveBatch(messageCapacity: 1)
            try #require(receive(1, into: batch, from: group.controlSocket) == 1)
            #expect(batch.region(0).bytes == payload)
            #expect(batch.source(0) == peer)
            #expect(batch.localAddress(0)?.interfaceIndex == 0)
            let nothing = skippingIPv6 { queue.read(arena.whole) } frame: { arena.whole }
            #expect(nothing == -Int(EAGAIN))
        }
    }

    @Test func longFrameOverflowsIntoTheSecondRegion() throws {
        try inNewNamespace {
            let tun = try configuredDevice()
            let group = try UDPSocketGroup.bind(port: 4_000, workerCount: 1)
            let peer = Endpoint(address: try address("10.9.0.2"), port: 4_000, scope: 0)
            let destination = try #require(Destination(peer, family: group.family))
            let payload = pattern(1_200)
            ByteArena.withCopy(of: payload) {
                #expect(group.controlSocket.send($0, to: destination) == 1_200)
            }
            let arena = ByteArena(count: 4_096)
            let first = arena.whole.prefix(138)
            let second = arena.whole.region(at: 2_048, count: 2_048)
            var count = 0
            #expect(
                eventually {
                    count = skippingIPv6 { tun.queues[0].read(first, second) } frame: { first }
                    return count > 0
                })
            #expect(count == 10 + 28 + 1_200)
            #expect(Array(first.bytes[38...]) == Array(payload[..<100]))
            #expect(second.prefix(1_100).bytes == Array(payload[100...]))
        }
    }

    @Test func datagramBeyondTheMTULeavesInFragments() throws {
        try inNewNamespace {
            let tun = try configuredDevice()
            let group = try UDPSocketGroup.bind(port: 4_000, workerCount: 1)
            let peer = Endpoint(address: try address("10.9.0.2"), port: 4_000, scope: 0)
            let destination = try #require(Destination(peer, family: group.family))
            ByteArena.withCopy(of: pattern(3_000)) {
                #expect(group.controlSocket.send($0, to: destination) == 3_000)
            }
            let arena = ByteArena(count: 65_600)
            var offsets: [UInt16] = []
            for _ in 0..<3 {
                let frame = try readPacket(tun.queues[0], into: arena)
                offsets.append(frame.bigEndian16(at: 10 + 6) & 0x1fff)
            }
            #expect(offsets == [0, 175, 350])
        }
    }

    @Test func segmentedUDPFrameArrivesAsItsDatagrams() throws {
        try inNewNamespace {
            let tun = try configuredDevice()
            try #require(tun.offloads.contains(.udp), "needs Linux 6.2")
            let group = try UDPSocketGroup.bind(port: 4_000, workerCount: 1)
            let payload = transportData(receiverIndex: 0, count: 2_500)
            let (head, tail) = udpFrame(payload, segmentByteCount: 1_000)
            let count = ByteArena.withCopy(of: head) { first in
                ByteArena.withCopy(of: tail) { second in
                    [first, second].withUnsafeBufferPointer {
                        tun.queues[0].write(RegionList(start: $0.baseAddress!, count: 2))
                    }
                }
            }
            #expect(count == head.count + tail.count)
            let batch = ReceiveBatch(messageCapacity: 4)
            try #require(receive(1, into: batch, from: group.dataSockets[0]) == 1)
            #expect(batch.region(0).bytes == payload)
            #expect(batch.segmentByteCount(0) == 1_000)
        }
    }

    @Test func frameWithAFalseHeaderIsRefused() throws {
        try inNewNamespace {
            let tun = try configuredDevice()
            var (frame, _) = udpFrame(pattern(100), segmentByteCount: 0)
            frame[1] = 0x66
            ByteArena.withCopy(of: frame) {
                #expect(tun.queues[0].write($0) == -Int(EINVAL))
            }
        }
    }

    @Test func deletedDeviceIsTold() throws {
        try inNewNamespace {
            let tun = try configuredDevice()
            try RoutingNetlink().removeLink(tun.interfaceIndex)
            let arena = ByteArena(count: 2_000)
            #expect(tun.queues[0].read(arena.whole) == -Int(EBADFD))
            ByteArena.withCopy(of: pattern(60)) {
                #expect(tun.queues[0].write($0) == -Int(EBADFD))
            }
        }
    }

    @Test func errorsSayWhatToDo() {
        #expect("\(TunError.driverMissing(.noSuchFileOrDirectory))".contains("modprobe tun"))
        #expect("\(TunError.notPermitted(.notPermitted))".contains("CAP_NET_ADMIN"))
        #expect("\(TunError.nameInUse("wg0"))".contains("ip link delete wg0"))
    }
}

/// A device named bltun0 that has 10.9.0.1/24, MTU 1420, and is up.
func configuredDevice(_ own: String = "10.9.0.1") throws -> TunDevice {
    let tun = try TunDevice.create(name: "bltun0")
    let netlink = try RoutingNetlink()
    try netlink.addAddress(
        InterfaceAddress(address(own), prefixLength: 24), device: tun.interfaceIndex)
    try netlink.setLink(tun.interfaceIndex, up: true, mtu: 1_420)
    return tun
}

/// The next IPv4 frame of the queue; a device that comes up also sends IPv6 of its own.
private func readPacket(_ queue: TunQueue, into arena: ByteArena) throws -> ByteRegion {
    var count = 0
    _ = eventually {
        count = skippingIPv6 { queue.read(arena.whole) } frame: { arena.whole }
        return count > 0
    }
    try #require(count > VirtioNetHeader.count + 20)
    return arena.whole.prefix(count)
}

private func skippingIPv6(_ read: () -> Int, frame: () -> ByteRegion) -> Int {
    while true {
        let count = read()
        if count < 0 || frame()[VirtioNetHeader.count] >> 4 == 4 { return count }
    }
}

/// Swaps the addresses; neither checksum changes by that.
private func answer(_ packet: ByteRegion) {
    let source = packet.bigEndian32(at: 12)
    packet.storeBigEndian(packet.bigEndian32(at: 16), at: 12)
    packet.storeBigEndian(source, at: 16)
}

/// An IPv4 UDP frame from 10.9.0.2 to 10.9.0.1, port 4000: headers, and payload apart when it is to
/// be segmented.
private func udpFrame(_ payload: [UInt8], segmentByteCount: Int) -> ([UInt8], [UInt8]) {
    let arena = ByteArena(count: 38)
    let frame = arena.whole
    frame.fill(with: 0)
    var header = VirtioNetHeader()
    header.flags = VirtioNetHeader.needsChecksumFlag
    header.checksumStart = 20
    header.checksumOffset = 6
    if segmentByteCount > 0 {
        header.gsoType = VirtioNetHeader.gsoUDPL4
        header.gsoSize = UInt16(segmentByteCount)
        header.headerLength = 28
    }
    header.write(to: frame)
    let packet = frame.region(from: 10)
    let udpCount = UInt16(8 + payload.count)
    packet[0] = 0x45
    packet.storeBigEndian(20 + udpCount, at: 2)
    packet[8] = 64
    packet[9] = 17
    packet.storeBigEndian(UInt32(0x0a09_0002), at: 12)
    packet.storeBigEndian(UInt32(0x0a09_0001), at: 16)
    packet.storeBigEndian(~sum(packet.prefix(20).bytes), at: 10)
    packet.storeBigEndian(UInt16(4_000), at: 20)
    packet.storeBigEndian(UInt16(4_000), at: 22)
    packet.storeBigEndian(udpCount, at: 24)
    // A partial checksum is the folded sum of the pseudo header, not inverted.
    let pseudo =
        packet.region(at: 12, count: 8).bytes
        + [0, 17, UInt8(udpCount >> 8), UInt8(udpCount & 0xff)]
    packet.storeBigEndian(sum(pseudo), at: 26)
    return segmentByteCount > 0 ? (frame.bytes, payload) : (frame.bytes + payload, [])
}

/// Ones-complement sum of 16-bit words, folded (RFC 1071).
private func sum(_ bytes: [UInt8]) -> UInt16 {
    var total: UInt32 = 0
    for (index, byte) in bytes.enumerated() {
        total += UInt32(byte) << (index % 2 == 0 ? 8 : 0)
    }
    while total > 0xffff { total = total >> 16 + total & 0xffff }
    return UInt16(total)
}
