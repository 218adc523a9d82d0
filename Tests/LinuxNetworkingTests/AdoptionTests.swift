import CLinux
import Glibc
import LinuxNetworking
import PacketFormats
import PacketMemory
import SystemPackage
import TestSupport
import Testing

/// Sockets and devices that another process has opened.
@Suite(.enabled(if: isRoot, "needs root"))
struct AdoptionTests {
    @Test(arguments: [1, 3], [1, 2])
    func datagramsThatWaitedAreReadByWhoeverComesNext(
        _ workerCount: Int, _ laneCount: Int
    ) throws {
        try inNewNamespace {
            let old = try UDPSocketGroup.bind(
                port: 0, workerCount: workerCount, laneCount: laneCount, firewallMark: 7)
            let sender = try UDPSocketGroup.bind(port: 0, workerCount: 1)
            let target = try Endpoint(address: address("127.0.0.1"), port: old.port)
            for index: UInt8 in 0..<6 { try send([4, 0, 0, 0, index, 0, 0, 0], sender, target) }
            try send([1, 2, 3], sender, target)

            let new = try UDPSocketGroup.adopt(
                fileDescriptors: old.fileDescriptors.map { dup($0) }, workerCount: workerCount)
            old.close()
            #expect(new.port == target.port && new.family == .dualStack)
            #expect(new.dataSockets.count == workerCount * laneCount)
            #expect(new.offloads.segmentation && new.offloads.receiveCoalescing)
            for index: UInt8 in 6..<12 { try send([4, 0, 0, 0, index, 0, 0, 0], sender, target) }

            let batch = ReceiveBatch(messageCapacity: 1)
            for index: UInt8 in 0..<12 {
                let socket = new.lanes(ofWorker: Int(index) % workerCount)[0]
                try #require(receive(1, into: batch, from: socket) == 1)
                #expect(batch.region(0).bytes == [4, 0, 0, 0, index, 0, 0, 0])
            }
            try #require(receive(1, into: batch, from: new.controlSocket) == 1)
            #expect(batch.region(0).bytes == [1, 2, 3])
            #expect(batch.localAddress(0) != nil && batch.arrivalNanoseconds(0) > 0)
            // The port is as exclusive as it was.
            #expect(throws: UDPSocketError.portInUse(new.port)) {
                try UDPSocketGroup.bind(port: new.port, workerCount: 1)
            }
            try new.setFirewallMark(8)
        }
    }

    @Test func socketsThatAreNoGroupAreRefusedAndClosed() throws {
        try inNewNamespace {
            let group = try UDPSocketGroup.bind(port: 0, workerCount: 1)
            let other = try UDPSocketGroup.bind(port: 0, workerCount: 1)
            let unbound = socket(AF_INET6, Int32(CLINUX_SOCK_DGRAM), 0)
            let stream = socket(AF_INET6, Int32(CLINUX_SOCK_STREAM), 0)
            let file = clinux_memory_file()
            let good = group.fileDescriptors
            for wrong in [
                [], [good[0]], [good[0], other.fileDescriptors[0]], [good[0], unbound],
                [stream, good[0]], [good[0], file], [good[0], good[0]],
                [good[0], good[1], other.fileDescriptors[0]],
            ] {
                let passed = wrong.map { distantCopy($0) }
                #expect(throws: UDPSocketError.self) {
                    try UDPSocketGroup.adopt(fileDescriptors: passed, workerCount: 1)
                }
                for descriptor in passed { #expect(fcntl(descriptor, F_GETFD) < 0) }
            }
            for descriptor in [unbound, stream, file] { close(descriptor) }
        }
    }

    @Test(arguments: [1, 2, 4])
    func queuesOfADeviceGoOnWhenTheFirstOwnerIsGone(_ queueCount: Int) throws {
        try inNewNamespace {
            let old = try TunDevice.create(name: "bltun0", queueCount: queueCount)
            try RoutingNetlink().setLink(old.interfaceIndex, up: true)
            let new = try TunDevice.adopt(
                fileDescriptors: old.queues.map { dup($0.fileDescriptor) })
            old.close()
            #expect(new.name == "bltun0" && new.interfaceIndex == old.interfaceIndex)
            #expect(new.queues.count == queueCount && new.offloads == old.offloads)
            #expect(new.hasVirtioHeader == old.hasVirtioHeader)
            #expect(new.isAttached)
            for queue in new.queues {
                #expect(fcntl(queue.fileDescriptor, F_GETFL) & O_NONBLOCK != 0)
                #expect(fcntl(queue.fileDescriptor, F_GETFD) == FD_CLOEXEC)
            }
            #expect(try RoutingNetlink().linkByName("bltun0").isUp)
            new.close()
            let netlink = try RoutingNetlink()
            #expect(isGone("bltun0", netlink))
        }
    }

    @Test func deviceOfAnotherNamespaceIsTakenOver() throws {
        try inNewNamespace {
            let old = try TunDevice.create(name: "bltun0", queueCount: 2)
            try onOwnThread {
                try NetworkNamespace.enterNew()
                // The same name, another device.
                let own = try TunDevice.create(name: "bltun0")
                let new = try TunDevice.adopt(
                    fileDescriptors: old.queues.map { dup($0.fileDescriptor) })
                #expect(new.name == "bltun0" && new.interfaceIndex == old.interfaceIndex)
                #expect(
                    try new.inItsNamespace { try RoutingNetlink().linkByName("bltun0").index }
                        == old.interfaceIndex)
                #expect(throws: TunError.self) {
                    try TunDevice.adopt(fileDescriptors: [
                        dup(new.queues[0].fileDescriptor), dup(own.queues[0].fileDescriptor),
                    ])
                }
            }
            old.close()
        }
    }

    @Test func queuesOfTwoDevicesAreRefusedAndClosed() throws {
        try inNewNamespace {
            let first = try TunDevice.create(name: "bltun0", queueCount: 2)
            let second = try TunDevice.create(name: "bltun1", queueCount: 2)
            let passed = [first, second].map { distantCopy($0.queues[0].fileDescriptor) }
            #expect(
                throws: TunError.unusableDescriptor(
                    passed[1], reason: "it is no queue of bltun0, as another one is")
            ) {
                try TunDevice.adopt(fileDescriptors: passed)
            }
            for descriptor in passed { #expect(fcntl(descriptor, F_GETFD) < 0) }
            #expect(throws: TunError.self) { try TunDevice.adopt(fileDescriptors: []) }
            #expect(first.isAttached && second.isAttached)
        }
    }
}

private func send(_ bytes: [UInt8], _ group: UDPSocketGroup, _ target: Endpoint) throws {
    let destination = try #require(Destination(target, family: group.family))
    ByteArena.withCopy(of: bytes) { region in
        #expect(group.controlSocket.send(region, to: destination) == bytes.count)
    }
}
