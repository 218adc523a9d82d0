import CNetlink
import Glibc
import PacketFormats
import SystemPackage
import TestSupport
import Testing

@testable import LinuxNetworking

@Suite(.enabled(if: isRoot, "needs root"))
struct InterfacePlaceTests {
    @Test(arguments: [RoutingRule.Family.ipv4, .ipv6])
    func rulesByInterfaceAndSourceComeBackAsGiven(_ family: RoutingRule.Family) throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let source = try prefix(family == .ipv4 ? "10.0.0.0/24" : "fd00::/64")
            let wanted = [
                RoutingRule(family: family, table: 100, inputInterface: "acme0", priority: 10),
                RoutingRule(family: family, table: 1_000, outputInterface: "acme0", priority: 11),
                RoutingRule(family: family, table: 300, source: source, priority: 12),
            ]
            for rule in wanted { try netlink.addRule(rule) }
            let present = try netlink.rules(family)
            for rule in wanted {
                #expect(present.contains(rule))
                try netlink.removeRule(rule)
                #expect(try !netlink.rules(family).contains(rule))
            }
        }
    }

    @Test func placeOfATableIsTakenOnceAndLeftWithoutTrace() throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let place = InterfacePlace.table(100)
            let tun = try TunDevice.create(name: "acme0")
            let before = try RoutingRule.Family.allCases.map { try netlink.rules($0) }
            for _ in 0..<2 { try place.attach("acme0", netlink) }
            for family in RoutingRule.Family.allCases {
                let rules = try netlink.rules(family).filter { $0.table == 100 }
                #expect(Set(rules.map(\.inputInterface)) == ["acme0", nil] && rules.count == 2)
            }
            #expect(try place.table(netlink) == 100)
            tun.close()
            for _ in 0..<2 { try place.detach("acme0", netlink) }
            #expect(try RoutingRule.Family.allCases.map { try netlink.rules($0) } == before)
        }
    }

    /// Two tenants with the same addresses in one namespace, each with a table of its own.
    @Test func packetsStayInTheTableOfTheirInterface() throws {
        try inNewNamespace {
            try write("1", to: "/proc/sys/net/ipv4/ip_forward")
            for name in ["all", "default"] {
                try write("0", to: "/proc/sys/net/ipv4/conf/\(name)/rp_filter")
            }
            let netlink = try RoutingNetlink()
            let names = ["acme0", "beta0", "outacme0", "outbeta0", "main0"]
            let tuns = try names.map { try TunDevice.create(name: $0, wanted: []) }
            for tun in tuns { try netlink.setLink(tun.interfaceIndex, up: true) }
            for (tun, table) in zip(tuns, [100, 101] as [UInt32]) {
                try InterfacePlace.table(table).attach(tun.name, netlink)
                try netlink.addAddress(
                    InterfaceAddress(address("10.0.0.1"), prefixLength: 24),
                    device: tun.interfaceIndex, routesNetwork: false)
                try netlink.addRoute(
                    prefix("10.0.0.0/24"), device: tun.interfaceIndex, table: table)
            }
            try netlink.addRoute(prefix("10.9.0.0/24"), device: tuns[2].interfaceIndex, table: 100)
            try netlink.addRoute(prefix("10.9.0.0/24"), device: tuns[3].interfaceIndex, table: 101)
            try netlink.addRoute(prefix("10.8.0.0/24"), device: tuns[3].interfaceIndex, table: 101)
            try netlink.addRoute(prefix("10.7.0.0/24"), device: tuns[4].interfaceIndex)
            #expect(try !netlink.routes().contains { "\($0.destination)" == "10.0.0.0/24" })

            func arrivals(
                _ destination: [UInt8], from tun: TunDevice, awaiting wanted: TunDevice? = nil
            ) -> [String] {
                drain(tuns)
                send(destination, into: tun)
                return takers(among: tuns, awaiting: wanted)
            }
            let (acme, beta) = (tuns[2], tuns[3])
            #expect(arrivals([10, 9, 0, 5], from: tuns[0], awaiting: acme) == ["outacme0"])
            #expect(arrivals([10, 9, 0, 5], from: tuns[1], awaiting: beta) == ["outbeta0"])
            #expect(arrivals([10, 8, 0, 5], from: tuns[1], awaiting: beta) == ["outbeta0"])
            // Neither the other tenant's routes nor the host's.
            #expect(arrivals([10, 8, 0, 5], from: tuns[0]) == [])
            #expect(arrivals([10, 7, 0, 5], from: tuns[0]) == [])
            #expect(arrivals([10, 7, 0, 5], from: tuns[1]) == [])
        }
    }

    @Test(arguments: [(0, false), (1, true), (252, true), (253, false), (254, false), (255, false),
        (256, true), (UInt32.max, true)] as [(UInt32, Bool)])
    func systemsOwnTablesAreRefused(_ table: UInt32, _ isPossible: Bool) {
        #expect((InterfacePlace.fault(inTable: table) == nil) == isPossible)
    }

    @Test func deviceThatIsNoVRFIsRefused() throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let tuns = try ["acme0", "blue"].map { try TunDevice.create(name: $0) }
            let wrong = #expect(throws: NetlinkError.self) {
                try InterfacePlace.vrf("blue").attach("acme0", netlink)
            }
            #expect("\(try #require(wrong))".contains("blue is no VRF device"))
            let missing = #expect(throws: NetlinkError.self) {
                try InterfacePlace.vrf("absent0").attach("acme0", netlink)
            }
            #expect("\(try #require(missing))".contains("no network interface named absent0"))
            #expect(try netlink.linkByName("acme0").master == nil)
            withExtendedLifetime(tuns) {}
        }
    }

    /// The kernel of the tests may lack VRF devices; a bridge takes ports by the same message.
    @Test func portHasItsMaster() throws {
        try inNewNamespace {
            let arguments = ["link", "add", "port0", "type", "veth", "peer", "name", "far0"]
            try ip(arguments)
            try ip(["link", "add", "bridge0", "type", "bridge"])
            let netlink = try RoutingNetlink()
            let port = try netlink.linkByName("port0").index
            let bridge = try netlink.linkByName("bridge0")
            #expect(bridge.vrfTable == nil)
            try netlink.setMaster(port, to: bridge.index)
            #expect(try netlink.link(port).master == bridge.index)
            try netlink.setMaster(port, to: nil)
            #expect(try netlink.link(port).master == nil)
            let refused = #expect(throws: NetlinkError.self) {
                try netlink.setMaster(port, to: 1)
            }
            #expect("\(try #require(refused))".contains("a port of interface 1"))
        }
    }
}

/// What the kernel says of a VRF device, as `ip -d link show type vrf` asks for it.
@Suite struct VRFLinkTests {
    @Test func tableOfAVRFIsRead() {
        #expect(link(kind: "vrf", table: 1_234)?.vrfTable == 1_234)
        #expect(link(kind: "vrf", table: nil)?.vrfTable == nil)
        #expect(link(kind: "veth", table: 7)?.vrfTable == nil)
        #expect(link(kind: "veth", table: 7)?.name == "blue")
    }

    @Test(arguments: 0..<60)
    func damagedAttributesAreNotReadBeyondTheirEnd(_ count: Int) {
        let whole = attribute(Int(IFLA_INFO_KIND), Array("vrf\0".utf8))
            + attribute(Int(IFLA_INFO_DATA), attribute(Int(IFLA_VRF_TABLE), [1, 0, 0, 0]))
        let cut = NetlinkAttributes(nested: Array(whole.prefix(count)))
        let table = cut.nested(Int(IFLA_INFO_DATA))?.uint32(Int(IFLA_VRF_TABLE))
        #expect(table == (count >= whole.count ? 1 : nil))
    }

    private func link(kind: String, table: UInt32?) -> LinkState? {
        let values = table.map { table in
            attribute(Int(IFLA_VRF_TABLE), withUnsafeBytes(of: table) { Array($0) })
        } ?? []
        let information = attribute(Int(IFLA_INFO_KIND), Array(kind.utf8) + [0])
            + attribute(Int(IFLA_INFO_DATA), values)
        let body = attribute(Int(IFLA_IFNAME), Array("blue\0".utf8))
            + attribute(Int(IFLA_LINKINFO), information)
        let count = MemoryLayout<ifinfomsg>.size
        var header = nlmsghdr()
        header.nlmsg_len = UInt32(NetlinkHeader.messageByteCount + count + body.count)
        header.nlmsg_type = UInt16(RTM_NEWLINK)
        var bytes = withUnsafeBytes(of: header) { Array($0) }
        bytes += [UInt8](repeating: 0, count: count) + body
        return bytes.withUnsafeBytes {
            LinkState($0.baseAddress!.assumingMemoryBound(to: nlmsghdr.self), type: RTM_NEWLINK)
        }
    }

    private func attribute(_ type: Int, _ value: [UInt8]) -> [UInt8] {
        let header = [UInt16(value.count + 4), UInt16(type)]
        let padding = [UInt8](repeating: 0, count: (4 - value.count % 4) % 4)
        return header.withUnsafeBytes { Array($0) } + value + padding
    }
}

private func ip(_ arguments: [String]) throws {
    let child = try ChildProcess.start("/usr/sbin/ip", arguments: ["ip"] + arguments)
    let status = try child.wait()
    #expect(status == 0, "ip \(arguments)")
}

private func write(_ text: String, to path: String) throws {
    let descriptor = try FileDescriptor.open(path, .writeOnly)
    defer { try? descriptor.close() }
    _ = try descriptor.writeAll(text.utf8)
}

/// Writes a packet of 10.0.0.2, as the tunnel's engine does for a peer.
private func send(_ destination: [UInt8], into tun: TunDevice) {
    let packet = PacketBuilder.udp4.with {
        $0.source = [10, 0, 0, 2]
        $0.destination = destination
    }
    let frame = [UInt8](repeating: 0, count: VirtioNetHeader.count) + packet.bytes
    #expect(Glibc.write(tun.queues[0].fileDescriptor, frame, frame.count) == frame.count)
}

private func drain(_ tuns: [TunDevice]) {
    for tun in tuns { _ = received(tun, from: []) }
}

/// Where packets of 10.0.0.2 arrive: where they should, however late, and wherever else.
private func takers(among tuns: [TunDevice], awaiting wanted: TunDevice?) -> [String] {
    var names: Set<String> = []
    if let wanted {
        _ = eventually {
            names.formUnion(takers(among: tuns))
            return names.contains(wanted.name)
        }
    }
    usleep(100_000)
    return names.union(takers(among: tuns)).sorted()
}

private func takers(among tuns: [TunDevice]) -> Set<String> {
    Set(tuns.filter { received($0, from: [10, 0, 0, 2]) > 0 }.map(\.name))
}

/// How many packets of a source wait in the device.
private func received(_ tun: TunDevice, from source: [UInt8]) -> Int {
    var buffer = [UInt8](repeating: 0, count: 2_048)
    var count = 0
    while true {
        let length = read(tun.queues[0].fileDescriptor, &buffer, buffer.count)
        if length <= 0 { return count }
        let packet = buffer[VirtioNetHeader.count..<max(length, VirtioNetHeader.count)]
        guard packet.count >= 20, packet.first! >> 4 == 4 else { continue }
        if Array(packet.dropFirst(12).prefix(4)) == source { count += 1 }
    }
}
