import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite(.enabled(if: isRoot, "needs root"))
struct TunSteeringTests {
    /// A device with four queues that all packets are routed to.
    private func makeDevice() throws -> TunDevice {
        let tun = try TunDevice.create(name: "bltun0", queueCount: 4)
        let netlink = try RoutingNetlink()
        try netlink.addAddress(
            InterfaceAddress(address("10.9.0.1"), prefixLength: 8), device: tun.interfaceIndex)
        try netlink.addAddress(
            InterfaceAddress(address("fd09::1"), prefixLength: 16), device: tun.interfaceIndex)
        try netlink.setLink(tun.interfaceIndex, up: true)
        return tun
    }

    /// The number of the queue that a datagram to `text` comes out of.
    private func queue(of text: String, in tun: TunDevice) throws -> Int? {
        let target = try address(text)
        let group = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        defer { group.close() }
        let destination = try #require(
            Destination(
                Endpoint(address: target, port: 9, scope: 0), family: group.family))
        let buffer = ByteArena(count: 2_048)
        var found: Int?
        let isFound = eventually {
            ByteArena.withCopy(of: [1, 2, 3]) { _ = group.dataSockets[0].send($0, to: destination) }
            for (number, queue) in tun.queues.enumerated() {
                while true {
                    let count = queue.read(buffer.whole)
                    guard count > VirtioNetHeader.count else { break }
                    let packet = buffer.whole.prefix(count).region(from: VirtioNetHeader.count)
                    let start = target.isIPv4 ? 16 : 24
                    let bytes = packet.bytes
                    guard bytes.count >= 48 - (target.isIPv4 ? 20 : 0) else { continue }
                    let isIPv4 = bytes[0] >> 4 == 4
                    guard isIPv4 == target.isIPv4 else { continue }
                    // What an earlier question sent may come late.
                    guard packet.bigEndian16(at: isIPv4 ? 20 : 40) == group.port else { continue }
                    if isIPv4 ? target.ipv4 == packet.bigEndian32(at: start)
                        : target.low == packet.bigEndian64(at: start + 8)
                    {
                        found = number
                    }
                }
            }
            return found != nil
        }
        return isFound ? found : nil
    }

    @Test func destinationNamesTheQueueByItsLongestPrefix() throws {
        try inNewNamespace {
            let tun = try makeDevice()
            let steering = try TunSteering(tun, capacity: 16)
            try steering.set(prefix("10.20.0.0/16"), queue: 1)
            try steering.set(prefix("10.20.7.0/24"), queue: 3)
            try steering.set(prefix("fd09:2::/32"), queue: 2)
            #expect(try queue(of: "10.20.1.1", in: tun) == 1)
            #expect(try queue(of: "10.20.7.1", in: tun) == 3)
            #expect(try queue(of: "10.30.0.1", in: tun) == 0)
            #expect(try queue(of: "fd09:2::7", in: tun) == 2)
            #expect(try queue(of: "fd09:3::7", in: tun) == 0)
            try steering.remove(prefix("10.20.7.0/24"))
            #expect(try queue(of: "10.20.7.1", in: tun) == 1)
            try steering.set(prefix("10.20.0.0/16"), queue: 2)
            #expect(try queue(of: "10.20.7.1", in: tun) == 2)
            try steering.set(prefix("0.0.0.0/0"), queue: 3)
            #expect(try queue(of: "10.30.0.1", in: tun) == 3)
            #expect(try queue(of: "fd09:3::7", in: tun) == 0)
        }
    }

    @Test func fullTableLeavesWhatDoesNotFitToTheFirstQueue() throws {
        try inNewNamespace {
            let tun = try makeDevice()
            let steering = try TunSteering(tun, capacity: 1)
            try steering.set(prefix("10.20.0.0/16"), queue: 1)
            try steering.set(prefix("10.21.0.0/16"), queue: 2)
            #expect(try queue(of: "10.20.0.1", in: tun) == 1)
            #expect(try queue(of: "10.21.0.1", in: tun) == 0)
        }
    }
}
