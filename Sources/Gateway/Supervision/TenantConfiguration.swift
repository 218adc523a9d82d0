import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import SystemPackage
import WireGuardConfiguration

/// A tenant's WireGuard file, and what a gateway makes of it.
struct TenantConfiguration: Sendable {
    let file: WireGuardFile
    /// Of the domain and of the file.
    let addresses: [AddressSetting]
    /// What of the file is not in force, each a sentence.
    let notes: [String]
    /// Of the file's bytes.
    private let digest: [UInt8]

    /// Reads and checks the file.
    init(of domain: TenantDomain, at path: String, sharedPort: UInt16) throws(TenantFault) {
        var bytes: [UInt8]
        do {
            bytes = try PrivateFolder.read(
                path, byteCountMax: ConfigurationLimits.textBytesMax)
        } catch {
            if case .system(_, let errno) = error, let fault = TenantFault(exhausted: errno) {
                throw fault
            }
            throw TenantFault(.configurationUnusable, "the configuration is not used: \(error)")
        }
        defer { bytes.wipe() }
        digest = SHA256.hash(bytes)
        do {
            file = try WireGuardFile(parsing: bytes)
        } catch {
            throw TenantFault(.configurationUnusable, "\(path): \(error)")
        }
        var addresses = domain.addresses
        for address in file.interface.addresses where !addresses.contains(address) {
            addresses.append(address)
        }
        self.addresses = addresses
        notes = Self.notes(on: file.interface)
        try Self.check(file, addresses, of: domain, at: path, sharedPort: sharedPort)
    }

    /// Whether the file is as it was read.
    func isUnchanged(at path: String) -> Bool {
        var bytes =
            (try? PrivateFolder.read(path, byteCountMax: ConfigurationLimits.textBytesMax)) ?? []
        defer { bytes.wipe() }
        return SHA256.hash(bytes) == digest
    }

    private static func check(
        _ file: WireGuardFile, _ addresses: [AddressSetting], of domain: TenantDomain,
        at path: String, sharedPort: UInt16
    ) throws(TenantFault) {
        guard file.interface.privateKey != nil else {
            throw TenantFault(.configurationUnusable, "\(path) has no PrivateKey")
        }
        if let port = file.interface.listenPort, port != 0, port != sharedPort {
            throw TenantFault(
                .configurationUnusable,
                "\(path) has ListenPort = \(port), and all tenants share port \(sharedPort); "
                    + "take it out")
        }
        guard !addresses.isEmpty else { throw TenantFault.noAddresses(of: domain) }
        if let fault = TenantDomain.addressFault(addresses) { throw fault }
        if let mtu = file.interface.mtu, mtu < TunnelMTU.minimumOfIPv6,
            let address = addresses.first(where: { !$0.address.isIPv4 })
        {
            throw TenantFault(
                .configurationUnusable,
                "\(path) has MTU = \(mtu), and IPv6, which \(address) is of, needs "
                    + "\(TunnelMTU.minimumOfIPv6)")
        }
        if let most = domain.limits.peersMax, file.peers.count > most {
            throw TenantFault(
                .configurationUnusable,
                "\(path) has \(file.peers.count) peers, and the limit of \(domain.tenant) is "
                    + "\(most)")
        }
        if let fault = overlap(of: file.peers, addresses) { throw fault }
    }

    /// Two peers that a packet could be for, or a peer with an address of the gateway's own.
    ///
    /// - Complexity: O(n log n) of the allowed IPs.
    static func overlap(
        of peers: [WireGuardFile.Peer], _ addresses: [AddressSetting]
    ) -> TenantFault? {
        let own = Set(addresses.compactMap { IPPrefix($0.address, length: $0.address.bitCount) })
        var routes: [(prefix: IPPrefix, peer: Int)] = []
        for (index, peer) in peers.enumerated() {
            for prefix in peer.allowedIPs {
                if own.contains(prefix) {
                    return TenantFault(
                        .overlappingRoutes,
                        "the peer \(name(peer)) has \(prefix), which is the gateway's own address")
                }
                routes.append((prefix, index))
            }
        }
        routes.sort { $0.prefix < $1.prefix }
        // Sorted, a network follows those that hold it.
        var open: [(prefix: IPPrefix, peer: Int)] = []
        for route in routes {
            while let last = open.last, !last.prefix.holds(route.prefix) { open.removeLast() }
            if let other = open.last(where: { $0.peer != route.peer }) {
                return TenantFault(
                    .overlappingRoutes,
                    "\(route.prefix) of the peer \(name(peers[route.peer])) overlaps "
                        + "\(other.prefix) of the peer \(name(peers[other.peer])); a packet could "
                        + "be for either")
            }
            open.append(route)
        }
        return nil
    }

    /// The start of the public key, as `branchline show` has it.
    private static func name(_ peer: WireGuardFile.Peer) -> String {
        String(peer.publicKey.base64.prefix(10))
    }

    private static func notes(on interface: WireGuardFile.Interface) -> [String] {
        var unused: [String] = []
        if !(interface.preUp + interface.postUp + interface.preDown + interface.postDown).isEmpty {
            unused.append("PreUp, PostUp, PreDown and PostDown")
        }
        if !interface.dnsServers.isEmpty || !interface.dnsSearchDomains.isEmpty {
            unused.append("DNS")
        }
        if let mark = interface.firewallMark, mark != 0 {
            unused.append("FwMark, which gateway.json has for all tenants,")
        }
        if interface.saveConfig { unused.append("SaveConfig") }
        if case .number = interface.table {
            unused.append("Table, for which \"place\" stands,")
        }
        return unused.map { "\($0) of the configuration file has no effect on a gateway" }
    }

    // MARK: - What it asks for

    var publicKey: PublicKey? { file.interface.privateKey?.publicKey }

    /// Networks that are routed to the interface, beside those of its own addresses.
    var routes: Set<IPPrefix> {
        if file.interface.table == .off { return [] }
        let connected = addresses.compactMap { IPPrefix($0.address, length: $0.prefixLength) }
        return Set(file.peers.flatMap(\.allowedIPs)).filter { route in
            !connected.contains { $0.holds(route) }
        }
    }

    /// What turns a device with these peers into that of the file. Peers that are as they should
    /// be are not mentioned, so that their sessions go on.
    ///
    /// - Parameters:
    ///   - previous: The file that the device was told last.
    ///   - endpoints: Addresses of endpoints that are names, as far as they are known.
    ///   - lastPlace: Where a new peer without an endpoint is to be looked for.
    func settings(
        from present: DeviceStatus, previous: TenantConfiguration? = nil,
        endpoints: [HostEndpoint: Endpoint] = [:],
        lastPlace: (PublicKey) -> Endpoint? = { _ in nil }
    ) -> DeviceSettings {
        var settings = DeviceSettings()
        if let key = file.interface.privateKey {
            let isSame = present.privateKey.map { $0.publicKey == key.publicKey } ?? false
            if !isSame { settings.privateKey = .set(key) }
        }
        let wanted = Dictionary(
            file.peers.map { ($0.publicKey, $0) }, uniquingKeysWith: { _, last in last })
        let old = Dictionary(
            present.peers.map { ($0.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
        let told = Dictionary(
            (previous?.file.peers ?? []).map { ($0.publicKey, $0.endpoint) },
            uniquingKeysWith: { _, last in last })
        for peer in present.peers where wanted[peer.publicKey] == nil {
            settings.peers.append(PeerSettings(publicKey: peer.publicKey, remove: true))
        }
        for peer in file.peers {
            var endpoint = peer.endpoint.flatMap { host -> Endpoint? in
                if case .address(let address) = host { return address }
                return endpoints[host]
            }
            if old[peer.publicKey] == nil { endpoint = endpoint ?? lastPlace(peer.publicKey) }
            // One that has moved since is where it was heard of last.
            if old[peer.publicKey]?.endpoint != nil, told[peer.publicKey] ?? nil == peer.endpoint {
                endpoint = nil
            }
            if let change = Self.change(of: peer, at: endpoint, from: old[peer.publicKey]) {
                settings.peers.append(change)
            }
        }
        return settings
    }

    private static func change(
        of peer: WireGuardFile.Peer, at endpoint: Endpoint?, from old: PeerStatus?
    ) -> PeerSettings? {
        let keepalive = peer.persistentKeepaliveSeconds ?? 0
        guard let old else {
            return PeerSettings(
                publicKey: peer.publicKey, presharedKey: peer.presharedKey.map { .set($0) },
                profile: peer.profile, endpoint: endpoint, persistentKeepaliveSeconds: keepalive,
                replaceAllowedIPs: true, allowedIPs: peer.allowedIPs.map { .add($0) })
        }
        var change = PeerSettings(publicKey: peer.publicKey, updateOnly: true)
        var isChanged = false
        if !isSame(peer.presharedKey, old.presharedKey) {
            change.presharedKey = peer.presharedKey.map { .set($0) } ?? .remove
            isChanged = true
        }
        let profile = peer.profile ?? .wireguard
        if profile != old.profile {
            change.profile = profile
            isChanged = true
        }
        if let endpoint, endpoint != old.endpoint {
            change.endpoint = endpoint
            isChanged = true
        }
        if keepalive != old.persistentKeepaliveSeconds {
            change.persistentKeepaliveSeconds = keepalive
            isChanged = true
        }
        if Set(peer.allowedIPs) != Set(old.allowedIPs) {
            change.replaceAllowedIPs = true
            change.allowedIPs = peer.allowedIPs.map { .add($0) }
            isChanged = true
        }
        return isChanged ? change : nil
    }

    private static func isSame(_ first: PresharedKey?, _ second: PresharedKey?) -> Bool {
        switch (first, second) {
        case (nil, nil): true
        case (let first?, let second?): first.isEqual(to: second)
        default: false
        }
    }

    /// Names that have to be looked up.
    var names: Set<HostEndpoint> {
        Set(file.peers.compactMap(\.endpoint).filter { if case .name = $0 { true } else { false } })
    }
}
