public import Cryptography
internal import PacketFormats

/// A change to a secret that can also be taken away (on the wire: 32 zero bytes).
public enum SecretChange<Secret: Sendable>: Sendable {
    case remove
    case set(Secret)

    /// The new secret, if there is one.
    public var secret: Secret? {
        switch self {
        case .remove: nil
        case .set(let secret): secret
        }
    }
}

/// One `set=1` request. A field that is `nil` leaves its setting unchanged.
///
/// The text protocol has no word for ``rotatesPrivateKey`` and ``PeerSettings/successorKey``:
/// reading never sets them, writing passes over them.
public struct DeviceSettings: Sendable {
    public var privateKey: SecretChange<PrivateKey>?
    /// Sessions stay in force when `privateKey` takes the place of another one, and end otherwise.
    public var rotatesPrivateKey: Bool
    /// UDP port; 0 lets the system choose one.
    public var listenPort: UInt16?
    /// Mark of outgoing datagrams; 0 takes it away.
    public var firewallMark: UInt32?
    /// Removes every peer before `peers` are applied.
    public var replacePeers: Bool
    /// In the order of the request; a key may occur more than once.
    public var peers: [PeerSettings]

    public init(
        privateKey: SecretChange<PrivateKey>? = nil, rotatesPrivateKey: Bool = false,
        listenPort: UInt16? = nil, firewallMark: UInt32? = nil, replacePeers: Bool = false,
        peers: [PeerSettings] = []
    ) {
        self.privateKey = privateKey
        self.rotatesPrivateKey = rotatesPrivateKey
        self.listenPort = listenPort
        self.firewallMark = firewallMark
        self.replacePeers = replacePeers
        self.peers = peers
    }

    /// Holds settings that did not come as text to what text is held to.
    public func check() throws(UAPIError) {
        guard peers.count <= ConfigurationLimits.peersMax else {
            throw UAPIError(.invalid, "more than \(ConfigurationLimits.peersMax) peers")
        }
        for peer in peers {
            guard peer.allowedIPs.count <= ConfigurationLimits.allowedIPsMax else {
                throw UAPIError(
                    .invalid, "more than \(ConfigurationLimits.allowedIPsMax) allowed IPs")
            }
            guard peer.endpoint?.port != 0 else {
                throw UAPIError(.invalid, "an endpoint has port 0")
            }
        }
    }
}
