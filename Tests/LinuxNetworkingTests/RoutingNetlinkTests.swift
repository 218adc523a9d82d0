import Glibc
import LinuxNetworking
import PacketFormats
import SystemPackage
import TestSupport
import Testing

@Suite(.enabled(if: isRoot, "needs root"))
struct RoutingNetlinkTests {
    @Test(arguments: [("10.7.0.1", 24), ("10.7.0.2", 32), ("fd07::1", 64), ("fd07::2", 128)])
    func addressIsThereUntilItIsRemoved(_ text: String, _ length: Int) throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let tun = try TunDevice.create(name: "bladdr0")
            let own = InterfaceAddress(try address(text), prefixLength: length)
            #expect(try !netlink.addresses(of: tun.interfaceIndex).contains(own))
            try netlink.addAddress(own, device: tun.interfaceIndex)
            try netlink.addAddress(own, device: tun.interfaceIndex)
            #expect(try netlink.addresses(of: tun.interfaceIndex).contains(own))
            #expect(try !netlink.addresses(of: 1).contains(own))
            try netlink.removeAddress(own, device: tun.interfaceIndex)
            #expect(try !netlink.addresses(of: tun.interfaceIndex).contains(own))
            #expect(throws: NetlinkError.self) {
                try netlink.removeAddress(own, device: tun.interfaceIndex)
            }
        }
    }

    @Test(arguments: ["10.8.0.0/16", "0.0.0.0/0", "fd08::/48", "::/0", "192.0.2.1/32"])
    func routeIsThereUntilItIsRemoved(_ text: String) throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let tun = try TunDevice.create(name: "blroute0")
            let device = tun.interfaceIndex
            try netlink.setLink(device, up: true)
            let destination = try prefix(text)
            for table: UInt32 in [RoutingNetlink.mainTable, 51_820] {
                func isThere() throws -> Bool {
                    try netlink.routes(table: table).contains {
                        $0.destination == destination && $0.device == device
                    }
                }
                #expect(try !isThere())
                try netlink.addRoute(destination, device: device, table: table)
                #expect(try isThere())
                let repeated = #expect(throws: NetlinkError.self) {
                    try netlink.addRoute(destination, device: device, table: table)
                }
                #expect(repeated?.errno == .fileExists)
                try netlink.addRoute(destination, device: device, table: table, isReplacing: true)
                try netlink.removeRoute(destination, device: device, table: table)
                #expect(try !isThere())
            }
        }
    }

    @Test func metricsTellRoutesApart() throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let tun = try TunDevice.create(name: "blmetric0")
            try netlink.setLink(tun.interfaceIndex, up: true)
            let destination = try prefix("10.0.0.0/8")
            for metric: UInt32 in [10, 20] {
                try netlink.addRoute(destination, device: tun.interfaceIndex, metric: metric)
            }
            func metrics() throws -> [UInt32] {
                try netlink.routes().filter { $0.destination == destination }
                    .compactMap(\.metric)
            }
            #expect(try metrics() == [10, 20])
            try netlink.removeRoute(destination, device: tun.interfaceIndex, metric: 10)
            #expect(try metrics() == [20])
        }
    }

    @Test(arguments: [RoutingRule.Family.ipv4, .ipv6])
    func rulesOfADefaultRouteTunnelComeBackAsGiven(_ family: RoutingRule.Family) throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let marked = RoutingRule(
                family: family, table: 51_820, firewallMark: 51_820, isInverted: true,
                priority: 200)
            let suppressed = RoutingRule(
                family: family, table: RoutingNetlink.mainTable, suppressPrefixLength: 0,
                priority: 100)
            for rule in [marked, suppressed] {
                try netlink.addRule(rule)
                let repeated = #expect(throws: NetlinkError.self) { try netlink.addRule(rule) }
                #expect(repeated?.errno == .fileExists)
            }
            let present = try netlink.rules(family)
            #expect(present.contains(marked))
            #expect(present.contains(suppressed))
            for rule in [marked, suppressed] {
                try netlink.removeRule(rule)
                #expect(try !netlink.rules(family).contains(rule))
            }
            let missing = #expect(throws: NetlinkError.self) { try netlink.removeRule(marked) }
            #expect(missing?.errno == .noSuchFileOrDirectory)
        }
    }

    @Test func linkChangesAreThere() throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let tun = try TunDevice.create(name: "bllink0")
            let before = try netlink.linkByName("bllink0")
            #expect(before.index == tun.interfaceIndex)
            #expect(!before.isUp)
            #expect(before.mtu == 1_500)
            try netlink.setLink(tun.interfaceIndex, up: true, mtu: 1_420)
            try tun.setTransmitQueueLength(1_000, through: netlink)
            let after = try netlink.linkByName("bllink0")
            #expect(after.isUp && after.mtu == 1_420 && after.transmitQueueLength == 1_000)
            #expect(try netlink.link(tun.interfaceIndex) == after)
            try netlink.setLink(tun.interfaceIndex, up: false)
            #expect(try !netlink.linkByName("bllink0").isUp)
        }
    }

    @Test(arguments: ["absent0", "a-name-longer-than-any-interface"])
    func missingLinkIsNamedInTheError(_ name: String) throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let error = #expect(throws: NetlinkError.self) { try netlink.linkByName(name) }
            #expect(error?.errno == .operationNotSupportedByDevice)
            #expect("\(try #require(error))".contains("no network interface named \(name)"))
        }
    }

    @Test func refusalCarriesTheKernelsWords() throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let tun = try TunDevice.create(name: "bldown0")
            let error = #expect(throws: NetlinkError.self) {
                try netlink.addRoute(prefix("10.0.0.0/8"), device: tun.interfaceIndex)
            }
            #expect(error?.errno == .networkDown)
            #expect(error?.explanation?.isEmpty == false)
            #expect("\(try #require(error))".contains("add route 10.0.0.0/8"))
            let refused = #expect(throws: NetlinkError.self) {
                try netlink.setLink(tun.interfaceIndex, mtu: 1 << 20)
            }
            #expect(refused?.errno == .invalidArgument)
            #expect(refused?.explanation?.isEmpty == false)
        }
    }

    @Test func thousandsOfRoutesAreListed() throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let tun = try TunDevice.create(name: "blmany0")
            try netlink.setLink(tun.interfaceIndex, up: true)
            for index: UInt32 in 0..<2_000 {
                let network = IPAddress(ipv4: 0x0a00_0000 | index << 8)
                try netlink.addRoute(
                    #require(IPPrefix(network, length: 24)), device: tun.interfaceIndex, table: 77)
            }
            #expect(try netlink.routes(table: 77).count == 2_000)
        }
    }
}

@Suite(.enabled(if: isRoot, "needs root"))
struct LinkMonitorTests {
    @Test func changesAndRemovalAreTold() throws {
        try inNewNamespace {
            let monitor = try LinkMonitor()
            let netlink = try RoutingNetlink()
            #expect(monitor.next() == nil)
            let tun = try TunDevice.create(name: "blmon0")
            let index = tun.interfaceIndex
            try netlink.setLink(index, up: true, mtu: 1_400)
            let expected = try netlink.linkByName("blmon0")
            #expect(eventually { events(of: monitor).contains(.changed(expected)) })
            tun.close()
            #expect(eventually { events(of: monitor).contains(.removed(index: index)) })
        }
    }

    @Test func lostEventsAreTold() throws {
        try inNewNamespace {
            let monitor = try LinkMonitor()
            let netlink = try RoutingNetlink()
            var smallest: Int32 = 1
            setsockopt(monitor.fileDescriptor, SOL_SOCKET, SO_RCVBUF, &smallest, 4)
            for mtu in 1_000..<1_100 { try netlink.setLink(1, mtu: mtu) }
            #expect(events(of: monitor).contains(.overflowed))
            try netlink.setLink(1, mtu: 1_200)
            #expect(eventually { !events(of: monitor).isEmpty })
        }
    }

    private func events(of monitor: LinkMonitor) -> [LinkMonitor.Event] {
        var events: [LinkMonitor.Event] = []
        while let event = monitor.next() { events.append(event) }
        return events
    }
}
