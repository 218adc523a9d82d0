import LinuxNetworking
import PacketFormats
import WireGuardConfiguration

/// Takes a tunnel down as wg-quick(8) does, serially:
///
/// 1. Run PreDown.
/// 2. Save the state where SaveConfig asks for it.
/// 3. Remove the rules of default routes.
/// 4. Delete the interface, which ends the daemon and takes addresses and routes along.
/// 5. Take back name servers and packet filter rules.
/// 6. Run PostDown.
///
/// If the daemon was killed, its interface is gone and with it steps 2 and 4; its socket's file is
/// removed instead.
struct TakeDown {
    private let configuration: ConfigurationFile
    private let socket: InterfaceSocket
    private let netlink: RoutingNetlink
    private let hooks: Hooks

    init(_ configuration: ConfigurationFile) throws {
        self.configuration = configuration
        socket = try InterfaceSocket(name: configuration.interfaceName)
        netlink = try RoutingNetlink()
        hooks = Hooks(interfaceName: configuration.interfaceName)
    }

    func run() throws {
        let file = configuration.contents
        let found = try? netlink.linkByName(socket.name)
        if found == nil, try waitUntil(checksMax: 20, { !socket.isLive }) {
            try removeLeftovers()
            return
        }
        let status = try socket.deviceStatus()
        guard let link = found else {
            throw Failure.failed(
                "\(socket.name) is not in this network namespace, although its daemon runs; if it "
                    + "was moved, run `ip netns exec` with the namespace that it is in; if it was "
                    + "renamed, run `ip link set NEW name \(socket.name)` first, with its new name "
                    + "for NEW")
        }
        try hooks.run(file.interface.preDown, as: "PreDown")
        if file.interface.saveConfig { try save(link) }
        removeRules(status)
        do {
            try netlink.removeLink(link.index)
        } catch {
            // PreDown may have deleted it, or the daemon may just have ended.
            if (try? netlink.link(link.index)) != nil { throw error }
        }
        nameServers.remove()
        if hasDefaultRoute(status) || filter.isPresent { filter.remove() }
        _ = try waitUntil { !socket.isLive }
        try hooks.run(file.interface.postDown, as: "PostDown")
    }

    /// Removes what outlived the interface.
    ///
    /// - Throws: If nothing did: the tunnel was not up then.
    private func removeLeftovers() throws {
        let interface = configuration.contents.interface
        var removed: [String] = []
        if try removeOldRules() { removed.append("routing rules") }
        if filter.isPresent {
            filter.remove()
            removed.append("packet filter rules")
        }
        if socket.removeIfDead() { removed.append("socket") }
        nameServers.remove()
        guard !removed.isEmpty else {
            // Says that nothing runs the interface, and how to start it.
            _ = try socket.deviceStatus()
            return
        }
        Console.error(
            "note: \(socket.name) was gone already, its daemon has ended; removed the "
                + "\(removed.joined(separator: " and ")) that it left")
        // PreDown may count on the interface; what it undoes beside that is undone nevertheless.
        try hooks.run(interface.preDown, as: "PreDown", stopsAtFailure: false)
        try hooks.run(interface.postDown, as: "PostDown")
    }

    /// - Returns: Whether there were any.
    private func removeOldRules() throws -> Bool {
        let file = configuration.contents
        guard file.interface.table ?? .automatic == .automatic,
            file.peers.contains(where: { $0.allowedIPs.contains { $0.length == 0 } })
        else { return false }
        // Sockets of all network namespaces share a folder; rules belong to one namespace.
        let marks = InterfaceSocket.live().filter { (try? netlink.linkByName($0.name)) != nil }
            .compactMap { try? $0.deviceStatus().firewallMark }
        var removed = false
        for routing in try PolicyRouting.leftovers(
            netlink: netlink, mark: file.interface.firewallMark ?? 0, marksInUse: Set(marks))
        {
            for family in [RoutingRule.Family.ipv4, .ipv6] {
                removed = routing.remove(family) || removed
            }
        }
        return removed
    }

    private var filter: SpoofingFilter { SpoofingFilter(interfaceName: socket.name) }

    private var nameServers: NameServers {
        NameServers(interfaceName: socket.name, interface: configuration.contents.interface)
    }

    private func removeRules(_ status: DeviceStatus) {
        guard configuration.contents.interface.table ?? .automatic == .automatic,
            hasDefaultRoute(status), status.firewallMark != 0,
            let routing = try? PolicyRouting(netlink: netlink, mark: status.firewallMark)
        else { return }
        let defaults = status.peers.flatMap(\.allowedIPs).filter { $0.length == 0 }
        for family in Set(defaults.map(PolicyRouting.family)) { routing.remove(family) }
    }

    private func hasDefaultRoute(_ status: DeviceStatus) -> Bool {
        status.peers.contains { peer in peer.allowedIPs.contains { $0.length == 0 } }
    }

    /// Writes the current keys, peers, addresses and MTU over the file; the rest stays as it is.
    private func save(_ link: LinkState) throws {
        let old = configuration.contents.interface
        var current = WireGuardFile(try socket.deviceStatus())
        let configured = Set(old.addresses.map(\.address))
        current.interface.addresses = try netlink.addresses(of: link.index)
            // The kernel makes link-local addresses by itself.
            .filter { configured.contains($0.address) || !$0.address.isLinkLocal }
            .map { AddressSetting(address: $0.address, prefixLength: $0.prefixLength) }
        current.interface.mtu = old.mtu == nil ? nil : link.mtu
        current.interface.dnsServers = old.dnsServers
        current.interface.dnsSearchDomains = old.dnsSearchDomains
        current.interface.table = old.table
        current.interface.preUp = old.preUp
        current.interface.postUp = old.postUp
        current.interface.preDown = old.preDown
        current.interface.postDown = old.postDown
        current.interface.saveConfig = true
        var text = current.text
        try configuration.replace(wiping: &text)
    }
}
