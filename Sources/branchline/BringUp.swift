import LinuxNetworking
import PacketFormats
import SystemPackage
import WireGuardConfiguration

/// Brings a tunnel up as wg-quick(8) does. The steps are serial, and a failure undoes them:
///
/// 1. Run PreUp.
/// 2. Start the daemon, which makes the interface.
/// 3. Look up endpoints and hand over keys and peers.
/// 4. Add addresses, set the MTU, switch the interface on.
/// 5. Set name servers.
/// 6. Route the allowed IPs, default routes by policy.
/// 7. Run PostUp.
struct BringUp {
    private let file: WireGuardFile
    private let socket: InterfaceSocket
    private let daemon: Daemon
    private let netlink: RoutingNetlink
    private let hooks: Hooks
    /// What reverts the steps taken so far.
    private var undoings: [() -> Void] = []

    init(_ configuration: ConfigurationFile, daemon: Daemon) throws {
        file = configuration.contents
        socket = try InterfaceSocket(name: configuration.interfaceName)
        self.daemon = daemon
        netlink = try RoutingNetlink()
        hooks = Hooks(interfaceName: configuration.interfaceName)
    }

    mutating func run() throws {
        try requireMTUOfIPv6()
        try requireFreeName()
        try requireFreePort()
        Interruption.arm()
        do {
            try hooks.run(file.interface.preUp, as: "PreUp")
            let device = try makeInterface()
            removeOldFilter()
            let settings = try file.deviceSettings(endpoint: NameResolver.endpoint)
            try socket.apply(settings)
            try addAddresses(device)
            try setMTU(device, endpoints: settings.peers.compactMap(\.endpoint))
            try setNameServers()
            try addRoutes(device)
            try hooks.run(file.interface.postUp, as: "PostUp")
            try requireServed(device)
            try Interruption.check()
        } catch {
            undo()
            throw error
        }
    }

    /// Below that MTU the kernel takes IPv6 addresses away without a word.
    private func requireMTUOfIPv6() throws {
        guard let mtu = file.interface.mtu, let address = addressLost(to: mtu) else { return }
        throw Failure.badInput(
            "IPv6 needs an MTU of at least \(TunnelMTU.minimumOfIPv6); raise MTU = \(mtu), or take "
                + "Address = \(address) out")
    }

    private func addressLost(to mtu: Int) -> AddressSetting? {
        if mtu >= TunnelMTU.minimumOfIPv6 { return nil }
        return file.interface.addresses.first { !$0.address.isIPv4 }
    }

    private func requireFreeName() throws {
        let remedy = "take it down with `sudo branchline down \(socket.name)` first"
        if (try? netlink.linkByName(socket.name)) != nil {
            throw Failure.failed("there is an interface named \(socket.name) already; \(remedy)")
        }
        if socket.isLive {
            throw Failure.failed(
                "\(socket.path) is in use, perhaps by an interface in another network namespace; "
                    + remedy)
        }
    }

    /// A daemon binds when its interface is switched on, too late to answer that it cannot.
    private func requireFreePort() throws {
        guard let port = file.interface.listenPort, port != 0 else { return }
        // A daemon that is just ending may have lost its interface and still have the port.
        guard try waitUntil(checksMax: 20, { !Self.isInUse(port) }) else {
            let error = UDPSocketError.portInUse(port)
            throw Failure.failed("ListenPort cannot be used: \(error)")
        }
    }

    private static func isInUse(_ port: UInt16) -> Bool {
        do {
            try UDPSocketGroup.bind(port: port, workerCount: 1).close()
            return false
        } catch {
            return error == .portInUse(port)
        }
    }

    /// - Returns: The index of the new interface.
    private mutating func makeInterface() throws -> UInt32 {
        try Interruption.check()
        try daemon.start(socket)
        // Only now is the name ours: another `up` may have taken it since it was found free.
        let netlink = netlink
        let device = try netlink.linkByName(socket.name).index
        undoings.append { try? netlink.removeLink(device) }
        try daemon.awaitService(socket)
        return device
    }

    /// A daemon that was killed leaves the filter behind, which would drop packets of this tunnel.
    private func removeOldFilter() {
        let filter = SpoofingFilter(interfaceName: socket.name)
        if filter.isPresent { filter.remove() }
    }

    /// - Throws: If the hooks have deleted the interface or ended its daemon. One that they have
    ///   moved to another network namespace is still served.
    private func requireServed(_ device: UInt32) throws {
        // A daemon that has a signal to end may still give one answer, but no second.
        let isAnswering = (0..<2).allSatisfy { _ in (try? socket.deviceStatus()) != nil }
        if isAnswering, (try? netlink.link(device)) != nil { return }
        if try waitUntil(checksMax: 40, { !socket.isLive }) {
            throw Failure.failed(
                "\(socket.name) is gone after PostUp; take the command that deletes it or ends its "
                    + "daemon from PostUp")
        }
    }

    private func addAddresses(_ device: UInt32) throws {
        for address in file.interface.addresses {
            do {
                try netlink.addAddress(
                    InterfaceAddress(address.address, prefixLength: address.prefixLength),
                    device: device)
            } catch {
                // The kernel's own words may be names out of its source.
                let words = error.explanation.flatMap { $0.contains("_") ? nil : $0 }
                throw Failure.failed(
                    "the kernel refuses Address = \(address) for \(socket.name): "
                        + "\(words ?? "\(error.errno)"); set one that an interface can have")
            }
        }
    }

    private func setMTU(_ device: UInt32, endpoints: [Endpoint]) throws {
        try Interruption.check()
        let mtu = file.interface.mtu ?? TunnelMTU.choose(endpoints, netlink)
        if let address = addressLost(to: mtu) {
            let needed = TunnelMTU.minimumOfIPv6
            Console.error(
                "note: Address = \(address) is not in effect: the way to the peers leaves an MTU "
                    + "of \(mtu) bytes, IPv6 needs \(needed); set MTU = \(needed) to have the "
                    + "tunnel's datagrams fragmented")
        }
        try netlink.setLink(device, up: true, mtu: mtu)
    }

    private mutating func setNameServers() throws {
        let servers = NameServers(interfaceName: socket.name, interface: file.interface)
        if try servers.apply() { undoings.append(servers.remove) }
    }

    private mutating func addRoutes(_ device: UInt32) throws {
        let destinations = Set(file.peers.flatMap(\.allowedIPs)).sorted {
            ($1.length, $0.address) < ($0.length, $1.address)
        }
        switch file.interface.table ?? .automatic {
        case .off: return
        case .number(let table):
            for destination in destinations {
                try addRoute(destination, device, table: table)
            }
        case .automatic:
            // What an address of the interface already routes to it needs no route of its own.
            let connected = try netlink.routes().filter { $0.device == device }.map(\.destination)
            for destination in destinations where destination.length > 0 {
                let isCovered = connected.contains { network in
                    network.length <= destination.length && network.contains(destination.address)
                }
                if !isCovered {
                    try addRoute(destination, device, table: RoutingNetlink.mainTable)
                }
            }
            try addDefaultRoutes(destinations.filter { $0.length == 0 }, device)
        }
    }

    private func addRoute(_ destination: IPPrefix, _ device: UInt32, table: UInt32) throws {
        try Interruption.check()
        do {
            try netlink.addRoute(destination, device: device, table: table)
        } catch {
            guard error.errno == .fileExists else { throw error }
            throw Failure.failed(
                "\(destination) is routed elsewhere already; take it from AllowedIPs, or set Table")
        }
    }

    private mutating func addDefaultRoutes(_ destinations: [IPPrefix], _ device: UInt32) throws {
        if destinations.isEmpty { return }
        let routing = try PolicyRouting(
            netlink: netlink, mark: file.interface.firewallMark ?? 0)
        try socket.apply(DeviceSettings(firewallMark: routing.table))
        let filter = SpoofingFilter(interfaceName: socket.name)
        if try netlink.routes(table: routing.table).isEmpty {
            for family in [RoutingRule.Family.ipv4, .ipv6] { routing.remove(family) }
        }
        for destination in destinations {
            try Interruption.check()
            let family = PolicyRouting.family(of: destination)
            try routing.addRoute(destination, device: device)
            undoings.append { routing.remove(family) }
            try routing.addRules(family)
            undoings.append(filter.remove)
            let addresses = try netlink.addresses(of: device).map(\.address)
            _ = try filter.apply(family, addresses: addresses, mark: routing.table)
        }
    }

    private mutating func undo() {
        if undoings.isEmpty { return }
        Console.error("undoing what was set up for \(socket.name)")
        while let undoing = undoings.popLast() { undoing() }
    }
}
