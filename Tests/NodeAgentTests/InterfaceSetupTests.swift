import Glibc
import LinuxNetworking
import NodeAgent
import PacketFormats
import SystemPackage
import TestSupport
import Testing

@Suite(.enabled(if: isRoot, "needs root"))
struct InterfaceSetupTests {
    @Test func namespaceGetsAddressesRoutesAndMTU() throws {
        let inside = try NetworkNamespace.create(name: "bltest-\(getpid())-setup")
        defer { try? inside.remove() }
        let tun = try TunDevice.create(name: "tenant0", namespace: inside)
        var setup = try InterfaceSetup(name: "tenant0", place: .namespace(inside))
        let own = InterfaceAddress(try #require(IPAddress("10.0.0.1")), prefixLength: 24)
        setup.setAddresses([own])
        setup.setMTU(1_400)
        setup.changeRoutes(lost: [], new: [try prefix("10.9.0.0/16"), try prefix("0.0.0.0/0")])
        #expect(setup.notes == [])
        do {
            let netlink = try RoutingNetlink(in: inside)
            let link = try netlink.linkByName("tenant0")
            #expect(link.isUp && link.mtu == 1_400)
            #expect(try netlink.addresses(of: link.index).contains(own))
            #expect(try destinations(netlink) == ["0.0.0.0/0", "10.0.0.0/24", "10.9.0.0/16"])
            setup.changeRoutes(lost: [try prefix("0.0.0.0/0")], new: [try prefix("10.9.0.0/16")])
            #expect(setup.notes == ["10.9.0.0/16 is routed elsewhere already"])
            #expect(try destinations(netlink) == ["10.0.0.0/24", "10.9.0.0/16"])
        }
        // It keeps nothing open inside.
        try inside.remove()
        #expect(eventually { !tun.isAttached })
        setup.setMTU(1_300)
        #expect(setup.notes.contains { $0.contains("not there any more") })
    }

    @Test func missingInterfaceIsNoted() throws {
        let inside = try NetworkNamespace.create(name: "bltest-\(getpid())-missing")
        defer { try? inside.remove() }
        var setup = try InterfaceSetup(name: "tenant0", place: .namespace(inside))
        setup.setMTU(1_400)
        #expect(setup.notes.contains { $0.contains("no network interface named tenant0") })
        let tun = try TunDevice.create(name: "tenant0", namespace: inside)
        setup.setMTU(1_400)
        #expect(setup.notes == [])
        #expect(tun.isAttached)
    }

    @Test func tableKeepsTheMainTableFree() throws {
        try inNewNamespace {
            let netlink = try RoutingNetlink()
            let before = try netlink.rules(.ipv4)
            let tuns = try ["acme0", "beta0"].map { try TunDevice.create(name: $0) }
            let own = InterfaceAddress(try #require(IPAddress("10.0.0.1")), prefixLength: 24)
            let next = InterfaceAddress(try #require(IPAddress("10.1.0.1")), prefixLength: 24)
            for (tun, table) in zip(tuns, [100, 101] as [UInt32]) {
                var setup = try InterfaceSetup(name: tun.name, place: .table(table))
                setup.setAddresses([own])
                setup.setMTU(1_400)
                setup.changeRoutes(
                    lost: [], new: [try prefix("10.9.0.0/16"), try prefix("0.0.0.0/0")])
                #expect(setup.notes == [])
                #expect(try destinations(netlink, table: table)
                    == ["0.0.0.0/0", "10.0.0.0/24", "10.9.0.0/16"])
                setup.setAddresses([next])
                #expect(setup.notes == [])
                #expect(try destinations(netlink, table: table)
                    == ["0.0.0.0/0", "10.1.0.0/24", "10.9.0.0/16"])
            }
            #expect(try destinations(netlink) == [])
            for (tun, table) in zip(tuns, [100, 101] as [UInt32]) {
                tun.close()
                var setup = try InterfaceSetup(name: tun.name, place: .table(table))
                setup.retire()
                #expect(setup.notes == [])
            }
            #expect(try netlink.rules(.ipv4) == before)
        }
    }

    @Test func defaultRouteOfTheHostIsLeftToTheOperator() throws {
        try inNewNamespace {
            let tun = try TunDevice.create(name: "host0")
            var setup = try InterfaceSetup(name: "host0")
            setup.setAddresses([try prefix("10.0.0.1/32")])
            setup.setMTU(1_400)
            setup.changeRoutes(lost: [], new: [try prefix("0.0.0.0/0"), try prefix("10.9.0.0/16")])
            #expect(setup.notes.count == 1 && setup.notes[0].contains("add rules for it"))
            #expect(try destinations(RoutingNetlink()) == ["10.9.0.0/16"])
            #expect(tun.isAttached)
        }
    }

    private func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

    private func destinations(
        _ netlink: RoutingNetlink, table: UInt32 = RoutingNetlink.mainTable
    ) throws -> [String] {
        try netlink.routes(table: table).filter(\.destination.address.isIPv4)
            .map { "\($0.destination)" }.sorted()
    }
}
