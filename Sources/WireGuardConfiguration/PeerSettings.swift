public import Cryptography
public import PacketFormats

/// One peer of a `set=1` request. A field that is `nil` leaves its setting unchanged.
public struct PeerSettings: Sendable {
    /// A prefix to give to the peer or to take from it.
    public enum AllowedIPChange: Hashable, Sendable {
        /// Moves the prefix here if another peer has it.
        case add(IPPrefix)
        /// Does nothing if the peer does not have it.
        case remove(IPPrefix)
    }

    public var publicKey: PublicKey
    /// Removes the peer; the other fields then mean nothing.
    public var remove: Bool
    /// Does nothing if the peer does not exist.
    public var updateOnly: Bool
    public var presharedKey: SecretChange<PresharedKey>?
    public var endpoint: Endpoint?
    /// In seconds; 0 turns it off.
    public var persistentKeepaliveSeconds: UInt16?
    /// Takes all prefixes from the peer before `allowedIPs` are applied.
    public var replaceAllowedIPs: Bool
    /// In the order of the request.
    public var allowedIPs: [AllowedIPChange]

    public init(
        publicKey: PublicKey, remove: Bool = false, updateOnly: Bool = false,
        presharedKey: SecretChange<PresharedKey>? = nil, endpoint: Endpoint? = nil,
        persistentKeepaliveSeconds: UInt16? = nil, replaceAllowedIPs: Bool = false,
        allowedIPs: [AllowedIPChange] = []
    ) {
        self.publicKey = publicKey
        self.remove = remove
        self.updateOnly = updateOnly
        self.presharedKey = presharedKey
        self.endpoint = endpoint
        self.persistentKeepaliveSeconds = persistentKeepaliveSeconds
        self.replaceAllowedIPs = replaceAllowedIPs
        self.allowedIPs = allowedIPs
    }
}
