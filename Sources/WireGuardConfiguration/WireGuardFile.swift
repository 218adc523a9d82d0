public import Cryptography
public import PacketFormats

/// A configuration file as wg-quick(8) reads it.
public struct WireGuardFile: Sendable {
    /// Which routing table gets the routes of allowed IPs.
    public enum Table: Hashable, Sendable {
        /// No routes are made.
        case off
        /// The main table, with policy routing for default routes.
        case automatic
        /// Number of the table, at least 1.
        case number(UInt32)
    }

    /// The `[Interface]` section.
    public struct Interface: Sendable {
        public var privateKey: PrivateKey?
        public var listenPort: UInt16?
        /// 0 for `off`.
        public var firewallMark: UInt32?
        public var addresses: [AddressSetting] = []
        public var dnsServers: [IPAddress] = []
        public var dnsSearchDomains: [String] = []
        /// In bytes; `nil` to compute it from the route to the peers.
        public var mtu: Int?
        /// `nil` where the file does not say, which means ``Table/automatic``.
        public var table: Table?
        /// Shell commands, in order; `%i` stands for the interface's name.
        public var preUp: [String] = []
        public var postUp: [String] = []
        public var preDown: [String] = []
        public var postDown: [String] = []
        /// Whether the file is overwritten with the state at the end.
        public var saveConfig = false

        public init() {}
    }

    /// One `[Peer]` section.
    public struct Peer: Sendable {
        public var publicKey: PublicKey
        public var presharedKey: PresharedKey?
        /// `nil` where the file does not say, which means `wireguard`.
        public var profile: TunnelProfile?
        public var endpoint: HostEndpoint?
        /// In seconds; 0 for `off`.
        public var persistentKeepaliveSeconds: UInt16?
        public var allowedIPs: [IPPrefix] = []

        public init(publicKey: PublicKey) {
            self.publicKey = publicKey
        }
    }

    public var interface: Interface
    public var peers: [Peer]

    public init(interface: Interface = Interface(), peers: [Peer] = []) {
        self.interface = interface
        self.peers = peers
    }

    /// The state of a device in the form of a file, as `wg showconf` shows it.
    public init(_ status: DeviceStatus) {
        var interface = Interface()
        interface.privateKey = status.privateKey
        interface.listenPort = status.listenPort == 0 ? nil : status.listenPort
        interface.firewallMark = status.firewallMark == 0 ? nil : status.firewallMark
        let peers = status.peers.map { peerStatus in
            var peer = Peer(publicKey: peerStatus.publicKey)
            peer.presharedKey = peerStatus.presharedKey
            peer.profile = peerStatus.profile == .wireguard ? nil : peerStatus.profile
            // wireguard-go takes port 0; in a file it is refused, as nothing can be sent there.
            peer.endpoint = peerStatus.endpoint.flatMap { $0.port == 0 ? nil : .address($0) }
            peer.allowedIPs = peerStatus.allowedIPs
            let seconds = peerStatus.persistentKeepaliveSeconds
            peer.persistentKeepaliveSeconds = seconds == 0 ? nil : seconds
            return peer
        }
        self.init(interface: interface, peers: peers)
    }

    /// The settings that replace whatever a device had, as `wg setconf` makes them.
    ///
    /// - Parameter endpoint: Finds the address of a peer's endpoint, names included.
    public func deviceSettings<Failure: Error>(
        endpoint: (HostEndpoint) throws(Failure) -> Endpoint
    ) throws(Failure) -> DeviceSettings {
        var settings = DeviceSettings(
            privateKey: interface.privateKey.map { .set($0) } ?? .remove,
            listenPort: interface.listenPort ?? 0,
            firewallMark: interface.firewallMark ?? 0,
            replacePeers: true)
        for peer in peers {
            var address: Endpoint?
            if let named = peer.endpoint { address = try endpoint(named) }
            settings.peers.append(
                PeerSettings(
                    publicKey: peer.publicKey,
                    presharedKey: peer.presharedKey.map { .set($0) },
                    profile: peer.profile,
                    endpoint: address,
                    persistentKeepaliveSeconds: peer.persistentKeepaliveSeconds,
                    replaceAllowedIPs: true,
                    allowedIPs: peer.allowedIPs.map { .add($0) }))
        }
        return settings
    }
}
